package brokerconfig

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A Group is publishers that must not be taken for others: they have a role, and with it a
// key, an account and inboxes of their own, and get at their own channels and topics only.
type Group struct {
	Name     string   // a lower-case letter, then up to 30 of those and digits
	Channels []string // of Scope.Channels
	Topics   []string // of Scope.Topics
	Services []string // of Scope.Services
}

var groupName = regexp.MustCompile(`^[a-z][a-z0-9]{0,30}$`)

// groupPrefix begins the roles of groups.
const groupPrefix = Publisher + "-"

// Role returns the role of the group's publishers.
func (g Group) Role() Role { return groupPrefix + Role(g.Name) }

// IsGroup reports whether a role is that of a group of publishers.
func (r Role) IsGroup() bool { return strings.HasPrefix(string(r), string(groupPrefix)) }

// topicPrefix tells topics from channels in the list of a group.
const topicPrefix = "topics/"

// ParseGroup reads NAME:CHANNEL,... or NAME:CHANNEL,...:SERVICE,... as it is given on the
// command line. A topic among the channels is written topics/TOPIC.
func ParseGroup(text string) (Group, error) {
	name, rest, ok := strings.Cut(text, ":")
	list, services, _ := strings.Cut(rest, ":")
	if !ok || list == "" {
		return Group{}, fmt.Errorf("%q is no group: give NAME:CHANNEL,... or NAME:CHANNEL,...:SERVICE,... such as portal:calendar", text)
	}
	g := Group{Name: name}
	for one := range strings.SplitSeq(list, ",") {
		if topic, ok := strings.CutPrefix(one, topicPrefix); ok {
			g.Topics = append(g.Topics, topic)
		} else {
			g.Channels = append(g.Channels, one)
		}
	}
	if services != "" {
		g.Services = strings.Split(services, ",")
	}
	return g, nil
}

// Roles returns all roles that the scope has, those of groups last.
func (s Scope) Roles() []Role {
	roles := Roles()
	for _, g := range s.Groups {
		roles = append(roles, g.Role())
	}
	return roles
}

// publishers returns the roles that publish, but for the gateway.
func (s Scope) publishers() []Role {
	return slices.DeleteFunc(s.Roles(), func(r Role) bool { return r != Publisher && !r.IsGroup() })
}

// of returns the scope of a group: its channels, topics and services. A group that is not known, as
// to whoever is in it, has all.
func (s Scope) of(r Role) Scope {
	for _, g := range s.Groups {
		if g.Role() == r {
			return Scope{Names: s.Names, Channels: g.Channels, Topics: g.Topics, Services: g.Services}
		}
	}
	return s
}

// CheckGroups returns what is wrong with the groups. The error wraps connectors.ErrConfig.
func (o *Options) CheckGroups() error {
	var p connectors.Problems
	o.checkGroups(&p)
	return p.Err()
}

func (o *Options) checkGroups(p *connectors.Problems) {
	seen := map[string]bool{}
	for _, g := range o.Groups {
		if !groupName.MatchString(g.Name) || seen[g.Name] {
			p.Add("groups", "the name %q is not one of a-z and 0-9 that begins with a letter, or is there twice", g.Name)
		}
		seen[g.Name] = true
		for _, c := range g.Channels {
			if !slices.Contains(o.Channels, c) {
				p.Add("groups", "%s: %q is none of the channels", g.Name, c)
			}
		}
		for _, t := range g.Topics {
			if !slices.Contains(o.Topics, t) {
				p.Add("groups", "%s: %q is none of the topics", g.Name, t)
			}
		}
		for _, s := range g.Services {
			if !slices.Contains(o.Services, s) {
				p.Add("groups", "%s: %q is none of the services", g.Name, s)
			}
		}
	}
}
