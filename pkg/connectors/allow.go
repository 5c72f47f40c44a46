package connectors

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// Defaults of the setting "allow". The worker's own variables begin with EXTSYNC_.
const (
	DefaultAllowedEnv   = "CHANNEL_*"
	DefaultAllowedFiles = "/run/extsync/secrets"
)

// A Grant is what of a process a channel may use besides public networks. What is in
// no list is refused. The zero Grant grants nothing.
type Grant struct {
	// Env are the names of environment variables that may be secrets of the channel,
	// or their beginnings with a * behind: CHANNEL_*.
	Env List `yaml:"env" json:"env"`
	// Files are the directories of files that may be secrets of the channel.
	Files List `yaml:"files" json:"files"`
	// Networks are those that are not public, in which targets of the channel may be:
	// 10.20.0.0/16. The channel chooses among them in allow_cidrs.
	Networks List `yaml:"networks" json:"networks"`
	// Databases are the directories in which a connector may keep files, such as a
	// SQLite database, and in which the sockets of a database server may be.
	Databases List `yaml:"databases" json:"databases"`
	// Programs are the programs that a connector may start, and directories of such. A
	// program has all that the process may do: whoever may start an interpreter may do
	// anything.
	Programs List `yaml:"programs" json:"programs" doc:"Programs that a connector of the kind plugin may start, and directories of such. A program may do whatever the worker's user may." example:"/usr/local/lib/extsync"`
}

// An Allow is what the operator of a process lets channels use of it.
type Allow struct {
	Grant `yaml:",inline"`
	// Channels are the grants of single channels. A list that is there takes the place
	// of the general one, also an empty one; one that is missing leaves it.
	Channels Grants `yaml:"channels" json:"channels,omitempty"`
}

// Grants are the grants of single channels, by name.
type Grants map[string]Grant

// DefaultAllow returns the defaults: variables and files that nothing else is called
// like, no network, no directory for databases and no program.
func DefaultAllow() Allow {
	return Allow{Grant: Grant{Env: List{DefaultAllowedEnv}, Files: List{DefaultAllowedFiles}}}
}

// For returns the grant of a channel.
func (a Allow) For(channel string) Grant {
	g, own := a.Grant, a.Channels[channel]
	for _, l := range []struct {
		general *List
		own     List
	}{
		{&g.Env, own.Env},
		{&g.Files, own.Files},
		{&g.Networks, own.Networks},
		{&g.Databases, own.Databases},
		{&g.Programs, own.Programs},
	} {
		if l.own != nil {
			*l.general = l.own
		}
	}
	return g
}

// own reports whether a channel has a list of its own.
func (a Allow) own(channel, list string) bool {
	g := a.Channels[channel]
	lists := map[string]List{"env": g.Env, "files": g.Files, "networks": g.Networks, "databases": g.Databases, "programs": g.Programs}
	return lists[list] != nil
}

// Check adds what is wrong with the lists. where names the setting at a path.
func (a Allow) Check(add func(path, format string, args ...any)) {
	a.check("allow", add)
	for _, channel := range slices.Sorted(maps.Keys(a.Channels)) {
		a.Channels[channel].check("allow.channels."+channel, add)
	}
}

func (g Grant) check(path string, add func(path, format string, args ...any)) {
	for _, pattern := range g.Env {
		name := strings.TrimSuffix(pattern, "*")
		switch {
		case name == "" || strings.ContainsAny(name, "*= "):
			add(path+".env", "%q is neither the name of a variable nor the beginning of one with a * behind", pattern)
		case isOwnVariable(name):
			add(path+".env", "%q is extsync's own, and never a secret of a channel", pattern)
		}
	}
	if _, err := parseNetworks(g.Networks); err != nil {
		add(path+".networks", "%v", err)
	}
	checkDirectories(path+".files", g.Files, add)
	checkDirectories(path+".databases", g.Databases, add)
	checkDirectories(path+".programs", g.Programs, add)
}

func checkDirectories(path string, list List, add func(path, format string, args ...any)) {
	for _, dir := range list {
		clean := filepath.Clean(dir)
		switch {
		case !filepath.IsAbs(dir):
			add(path, "%q is not an absolute path", dir)
		case clean == "/", within("/proc", clean), within("/sys", clean), within("/dev", clean):
			add(path, "%q is the system's", dir)
		}
	}
}

// within reports whether a clean path is a directory or lies below it, by its text.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// isOwnVariable reports whether a variable belongs to the process: its settings, and
// those of its traces.
func isOwnVariable(name string) bool {
	return strings.HasPrefix(name, "EXTSYNC_") || strings.HasPrefix(name, "OTEL_")
}

// allowsEnv reports whether a variable may be a secret.
func (g Grant) allowsEnv(name string) bool {
	if isOwnVariable(name) {
		return false
	}
	for _, pattern := range g.Env {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok && prefix != "" && strings.HasPrefix(name, prefix) || pattern == name {
			return true
		}
	}
	return false
}

// parseNetworks reads networks. The error names every text that is none.
func parseNetworks(list []string) ([]netip.Prefix, error) {
	var bad []string
	var out []netip.Prefix
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
			bad = append(bad, fmt.Sprintf("%q", text))
			continue
		}
		out = append(out, prefix)
	}
	if len(bad) > 0 {
		return nil, fmt.Errorf("not a network such as 10.20.0.0/16: %s", strings.Join(bad, ", "))
	}
	return out, nil
}

// A List is texts that are separated by commas in a variable or a flag.
type List []string

// String returns the texts with commas between.
func (l List) String() string { return strings.Join(l, ",") }

// UnmarshalText reads texts with commas between. No text is an empty list.
func (l *List) UnmarshalText(text []byte) error {
	*l = List{}
	for part := range strings.SplitSeq(string(text), ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l = append(*l, part)
		}
	}
	return nil
}

// String returns the names of the channels that have a grant.
func (g Grants) String() string { return strings.Join(slices.Sorted(maps.Keys(g)), ",") }

// UnmarshalText reads grants as YAML or JSON, as a variable or a flag has them.
func (g *Grants) UnmarshalText(text []byte) error {
	out := map[string]Grant{}
	if err := DecodeStrict(text, &out); err != nil {
		return err
	}
	*g = out
	return nil
}
