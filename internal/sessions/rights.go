package sessions

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// Rights are what a group of the provider may do, as a token says it.
type Rights struct {
	Scopes []tokens.Scope `yaml:"scopes" json:"scopes"`
	// Channels and Topics that it is limited to; none of either: all of both.
	Channels []string `yaml:"channels,omitempty" json:"channels,omitempty"`
	Topics   []string `yaml:"topics,omitempty" json:"topics,omitempty"`
}

// Groups are the rights of groups, by name. As text they are YAML.
type Groups map[string]Rights

// UnmarshalText reads what MarshalText writes, or YAML like it.
func (g *Groups) UnmarshalText(text []byte) error {
	out := map[string]Rights{}
	if err := connectors.DecodeStrict(text, &out); err != nil {
		return err
	}
	*g = out
	return nil
}

// String writes the groups as JSON, "" for none.
func (g Groups) String() string {
	if len(g) == 0 {
		return ""
	}
	data, err := json.Marshal(map[string]Rights(g))
	if err != nil {
		return ""
	}
	return string(data)
}

// Check calls bad for what is wrong.
func (g Groups) Check(bad func(group, format string, args ...any)) {
	for name, r := range g {
		if len(r.Scopes) == 0 {
			bad(name, "it has no scopes")
		}
		for _, s := range r.Scopes {
			if !slices.Contains(tokens.Scopes(), s) {
				bad(name, "%q is no scope; there are %s", s, strings.Join(scopeNames(), ", "))
			}
		}
	}
}

func scopeNames() []string {
	names := make([]string, len(tokens.Scopes()))
	for i, s := range tokens.Scopes() {
		names[i] = string(s)
	}
	return names
}

// Known returns those of some groups that have rights.
func (g Groups) Known(names []string) []string {
	known := []string{}
	for _, name := range names {
		if _, ok := g[name]; ok && !slices.Contains(known, name) {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	return known
}

// Grants returns what somebody in some groups may do: each grant by itself, as scopes of
// one group do not reach the channels of another. They are tokens that nobody has made,
// with an id that stands for the person.
func (g Groups) Grants(id, name string, names []string) []tokens.Token {
	var grants []tokens.Token
	for _, group := range g.Known(names) {
		r := g[group]
		grants = append(grants, tokens.Token{ID: id, Name: name, Scopes: r.Scopes, Channels: r.Channels, Topics: r.Topics, Rate: tokens.DefaultRate})
	}
	return grants
}

// Merge returns one token for a scope: for the channels and topics of all grants that have
// it. It has all scopes that any grant has; whether one of them reaches a channel is for
// May to say. nil: no grant has the scope. With "" any scope will do.
func Merge(grants []tokens.Token, scope tokens.Scope) *tokens.Token {
	var out *tokens.Token
	all := false
	for _, g := range grants {
		if scope != "" && !g.Allows(scope) {
			continue
		}
		if out == nil {
			first := g
			first.Channels, first.Topics = nil, nil
			out = &first
		}
		all = all || !g.Limited()
		out.Channels, out.Topics = union(out.Channels, g.Channels), union(out.Topics, g.Topics)
	}
	if out == nil {
		return nil
	}
	if all {
		out.Channels, out.Topics = nil, nil
	}
	out.Scopes = nil
	for _, s := range tokens.Scopes() {
		if slices.ContainsFunc(grants, func(g tokens.Token) bool { return g.Allows(s) }) {
			out.Scopes = append(out.Scopes, s)
		}
	}
	return out
}

// May reports whether some grant has a scope for a channel.
func May(grants []tokens.Token, scope tokens.Scope, channel string) bool {
	return slices.ContainsFunc(grants, func(g tokens.Token) bool { return g.Allows(scope) && g.AllowsChannel(channel) })
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
