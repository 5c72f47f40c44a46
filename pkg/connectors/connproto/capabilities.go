package connproto

import (
	"fmt"
	"slices"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Capabilities are connectors.Capabilities, as far as a plugin can have them.
type Capabilities struct {
	Guard          connectors.Guard `yaml:"guard" json:"guard,omitempty" default:"ledger" enum:"atomic,conditional,by format,ledger,none" doc:"The strength with which the plugin's target refuses older versions. One that promises more than it keeps lets an older version win."`
	KeepsDigest    bool             `yaml:"keeps_digest" json:"keeps_digest,omitempty" doc:"The target tells two contents of one version apart."`
	KeepsTombstone bool             `yaml:"keeps_tombstone" json:"keeps_tombstone,omitempty" doc:"A deleted key keeps its version at the target."`
	Probes         bool             `yaml:"probes" json:"probes,omitempty" doc:"The plugin can tell whether the target is there without writing."`
	Reads          bool             `yaml:"reads" json:"reads,omitempty" doc:"The plugin can read a key back from the target; audits need it."`
	Lists          bool             `yaml:"lists" json:"lists,omitempty" doc:"The plugin can go through the keys that the target holds."`
	Remembers      bool             `yaml:"remembers" json:"remembers,omitempty" doc:"The plugin gives values of a key to be had again with its next update."`
}

// YAML returns the capabilities as they are written in a channel's configuration, in one
// line.
func (c Capabilities) YAML() string {
	out := "{guard: " + string(c.Guard)
	for _, name := range c.beyond(Capabilities{Guard: c.Guard}) {
		out += ", " + name + ": true"
	}
	return out + "}"
}

// Of returns what a connector can do that uses these, and has up to maxBatch attempts in a
// request.
func (c Capabilities) Of(maxBatch int) connectors.Capabilities {
	return connectors.Capabilities{
		Guard: c.Guard, KeepsDigest: c.KeepsDigest, KeepsTombstone: c.KeepsTombstone,
		Probes: c.Probes, Reads: c.Reads, Lists: c.Lists, Remembers: c.Remembers, Batches: maxBatch > 1,
	}
}

// guards are from the strongest to the weakest.
func guards() []connectors.Guard {
	return []connectors.Guard{
		connectors.GuardAtomic, connectors.GuardConditional, connectors.GuardByFormat, connectors.GuardLedger, connectors.GuardNone,
	}
}

// beyond returns the names of what c has and the other has not.
func (c Capabilities) beyond(other Capabilities) []string {
	var out []string
	if slices.Index(guards(), c.Guard) < slices.Index(guards(), other.Guard) {
		out = append(out, fmt.Sprintf("guard %q", c.Guard))
	}
	for _, w := range []struct {
		mine, theirs bool
		name         string
	}{
		{c.KeepsDigest, other.KeepsDigest, "keeps_digest"},
		{c.KeepsTombstone, other.KeepsTombstone, "keeps_tombstone"},
		{c.Probes, other.Probes, "probes"},
		{c.Reads, other.Reads, "reads"},
		{c.Lists, other.Lists, "lists"},
		{c.Remembers, other.Remembers, "remembers"},
	} {
		if w.mine && !w.theirs {
			out = append(out, w.name)
		}
	}
	return out
}

// Check adds what the capabilities say that contradicts itself.
func (c Capabilities) Check(p *connectors.Problems) {
	if c.KeepsDigest && c.Guard == connectors.GuardNone {
		p.Add("capabilities.keeps_digest", "it means nothing with the guard %q", c.Guard)
	}
}
