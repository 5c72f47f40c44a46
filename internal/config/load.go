package config

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/schema"
)

// fileFlag and fileEnv name the configuration file.
const (
	fileFlag = "config"
	fileEnv  = envPrefix + "CONFIG"
)

// A Loader puts the configuration of one command together. It is for one use.
type Loader struct {
	settings []setting
	flags    map[string]*value // by path, of the groups that were declared
	file     value
	contexts Contexts
	chosen   *string // the context that a flag names; nil if there are no contexts
}

// NewLoader returns a loader without flags.
func NewLoader() *Loader {
	return &Loader{settings: settings(), flags: map[string]*value{}}
}

// Declare adds --config and a flag for every setting of the groups to fs. The
// usage of each names the variable that does the same.
func (l *Loader) Declare(fs *pflag.FlagSet, groups ...Group) {
	l.file.kind = "file"
	fs.VarP(&l.file, fileFlag, "", "YAML configuration file [$"+fileEnv+"]")
	defaults := Default()
	for _, s := range l.settings {
		if !slices.Contains(groups, s.group) {
			continue
		}
		v := &value{kind: s.kind, text: s.text(&defaults)}
		l.flags[s.path] = v
		fs.Var(v, s.flag(), s.usage+" [$"+s.env()+"]")
	}
}

// DeclareContext adds a flag for every setting that a context holds. Variables and files do
// not count for one.
func (l *Loader) DeclareContext(fs *pflag.FlagSet) {
	defaults := Default()
	for _, s := range l.settings {
		if s.group == GroupNATS || s.group == GroupAdminKey || s.path == "prefix" {
			v := &value{kind: s.kind, text: s.text(&defaults)}
			l.flags[s.path] = v
			fs.Var(v, s.flag(), s.usage)
		}
	}
}

// Load returns the configuration: default, context, file, variables, flags, each over the
// ones before. environ has the form of os.Environ. The error wraps
// connectors.ErrConfig and names everything that is wrong, in all sources.
func (l *Loader) Load(environ []string) (Config, error) {
	c := Default()
	env, unknown := l.ours(environ)
	origins := map[string]string{}
	var inFile, given connectors.Problems
	for _, name := range unknown {
		given.Add(name, "there is no such variable; see --help")
	}
	file := env[fileEnv]
	if l.file.set {
		file = l.file.text
	}
	context, name, err := l.context(env, file)
	if err != nil {
		return Config{}, err
	}
	if name != "" {
		context.over(&c)
	}
	if err := readFile(&inFile, file, &c); err != nil {
		return Config{}, err
	}
	c.File, c.Context = file, name
	for _, s := range l.settings {
		if text, ok := env[s.env()]; ok {
			origins[s.path] = s.env()
			given.AddError(s.env(), s.set(&c, text))
		}
		if v := l.flags[s.path]; v != nil && v.set {
			origins[s.path] = "--" + s.flag()
			given.AddError("--"+s.flag(), s.set(&c, v.text))
		}
	}
	c.check(func(path, format string, args ...any) {
		if from := origins[path]; from != "" {
			given.Add(path+" ("+from+")", format, args...)
		} else {
			inFile.Add(path, format, args...)
		}
	})
	if err := schema.Join(inFile.Err(), given.Err()); err != nil {
		return Config{}, err
	}
	return c, nil
}

// allowPrefix starts the names of the variables that say what channels may use. An empty
// one of these allows nothing; it must not leave the default.
const allowPrefix = envPrefix + "ALLOW_"

// ours returns our variables, and the names that look like ours but are not. An
// empty variable counts as not set, but for those of allowPrefix.
func (l *Loader) ours(environ []string) (known map[string]string, unknown []string) {
	known = map[string]string{}
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || text == "" && !strings.HasPrefix(name, allowPrefix) {
			continue
		}
		isOurs := name == fileEnv || name == ContextEnv && l.chosen != nil || slices.ContainsFunc(l.settings, func(s setting) bool { return s.env() == name })
		switch {
		case isOurs:
			known[name] = text
		case !serviceLink.MatchString(name):
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return known, unknown
}

// serviceLink matches the variables that Kubernetes gives every container for a
// service named extsync or extsync-something. They are nobody's mistake.
var serviceLink = regexp.MustCompile(`^EXTSYNC_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// readFile reads a configuration file over c, and notes what is wrong with it. No name is
// no file.
func readFile(p *connectors.Problems, name string, c *Config) error {
	if name == "" {
		return nil
	}
	return decodeFile(p, name, c)
}

func decodeFile(p *connectors.Problems, name string, out any) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("%w: configuration file: %w", connectors.ErrConfig, err)
	}
	defer func() { _ = f.Close() }() // only read from
	data, err := io.ReadAll(io.LimitReader(f, connectors.MaxConfigLen+1))
	if err != nil {
		return fmt.Errorf("%w: configuration file: %w", connectors.ErrConfig, err)
	}
	p.DecodeFile(name, data, out)
	return nil
}

// A value is a flag that keeps its text until Load: only then everything that is
// wrong can be told at once.
type value struct {
	kind, text string
	set        bool
}

// String returns the text; pflag shows it as the default.
func (v *value) String() string { return v.text }

// Set keeps the text.
func (v *value) Set(text string) error {
	v.text, v.set = text, true
	return nil
}

// Type returns what --help shows for the value.
func (v *value) Type() string { return v.kind }
