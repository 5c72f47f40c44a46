package channels

import (
	"fmt"
	"slices"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// MaxChannelsPerFile bounds a file of channel configurations, and one of topics.
const MaxChannelsPerFile = 10_000

// A File lists topics and channels.
type File struct {
	Topics   []Topic  `yaml:"topics,omitempty" json:"topics,omitempty" max:"10000" group:"Topics" doc:"The topics that are made or changed, before the channels. Topics that no file names stay as they are."`
	Channels []Config `yaml:"channels,omitempty" json:"channels,omitempty" max:"10000" group:"Channels" doc:"The channels that are made or changed. Channels that no file names stay as they are."`
}

// DecodeFile reads a YAML or JSON document with the fields topics and channels, of which one
// may be missing, fills in the defaults of what they list and validates it. name is that of
// the file, for errors; "" if it has none. The error wraps connectors.ErrConfig and names
// everything that is wrong with any of them; what could be read of the configurations comes
// with it.
func DecodeFile(name string, data []byte, catalog *connectors.Catalog) (File, error) {
	var f File
	var p connectors.Problems
	p.DecodeFile(name, data, &f)
	if len(f.Channels)+len(f.Topics) == 0 {
		p.Add("channels", "the list is empty or missing")
	}
	topics := names{}
	for i := range f.Topics {
		t := &f.Topics[i]
		p.AddError(topics.add(&p, "topics", i, t.Name), t.Validate())
		*t = t.WithDefaults()
	}
	named := names{}
	for i := range f.Channels {
		c := &f.Channels[i]
		p.AddError(named.add(&p, "channels", i, c.Name), c.Validate(catalog)) // what is left out has its default: a zero was written
		*c = c.WithDefaults()
	}
	for list, n := range map[string]int{"channels": len(f.Channels), "topics": len(f.Topics)} {
		if n > MaxChannelsPerFile {
			p.Add(list, "%d are more than %d", n, MaxChannelsPerFile)
		}
	}
	return f, p.Err()
}

// names are the names of a list, each with its first place.
type names map[string]int

// add notes a name, and a problem if it is there already. It returns the place's path.
func (n names) add(p *connectors.Problems, list string, i int, name string) (path string) {
	path = fmt.Sprintf("%s[%d]", list, i)
	first, twice := n[name]
	switch {
	case twice && name != "":
		p.Add(path+".name", "%q is the name of %s[%d], too", name, list, first)
	case !twice:
		n[name] = i
	}
	return path
}

// Validate validates every configuration. The error wraps connectors.ErrConfig and names
// everything that is wrong with any of them.
func (f *File) Validate(catalog *connectors.Catalog) error {
	var p connectors.Problems
	for i := range f.Topics {
		p.AddError(fmt.Sprintf("topics[%d]", i), f.Topics[i].Validate())
	}
	for i := range f.Channels {
		p.AddError(fmt.Sprintf("channels[%d]", i), f.Channels[i].Validate(catalog))
	}
	return p.Err()
}

// Has reports whether the file lists a topic.
func (f *File) Has(topic string) bool {
	return slices.ContainsFunc(f.Topics, func(t Topic) bool { return t.Name == topic })
}
