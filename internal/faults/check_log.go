package faults

import (
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// oneOutcome walks the log: each final outcome belongs to an accepted update and
// is its only one (guarantee 3), and what is delivered was applied (guarantee 1).
func (c *checker) oneOutcome() {
	applied := make(map[version]bool, len(c.h.Writes))
	for _, w := range c.h.Writes {
		applied[version{w.Key, w.Tag}] = true
	}
	first := map[version]Logged{}
	for _, e := range c.outcomes.Entries {
		if !wire.Final(e.Outcome) || e.Version.IsZero() {
			continue
		}
		id := version{e.Key, versioning.Tag{Version: e.Version, Digest: e.Digest}}
		a := c.known[id]
		if a == nil {
			c.fail(3, 0, e.Key, e.Version, "the log has an outcome (%s, record %d) for what nobody has published", e.Outcome, e.Seq)
			return
		}
		if before, twice := first[id]; twice && !a.Replayed {
			c.fail(3, 0, e.Key, e.Version, "it has two outcomes: %s by %s in record %d and %s by %s in record %d of the log",
				before.Outcome, before.Worker, before.Seq, e.Outcome, e.Worker, e.Seq)
			return
		}
		first[id] = e
		if e.Outcome == events.Delivered && !applied[id] {
			c.fail(1, 0, e.Key, e.Version, "the log says delivered (record %d), but the target never applied it", e.Seq)
			return
		}
	}
}

// everyOutcome: each accepted update has an outcome (guarantee 3): in the log, or
// in a latest channel by derivation from a newer version's.
func (c *checker) everyOutcome() {
	for _, a := range c.accepted {
		if _, ok := c.settled[version{a.Key, a.Tag}]; ok || a.Uncertain {
			continue
		}
		if c.mode == channels.Every {
			c.fail(3, 0, a.Key, a.Version, "it was accepted, but the log has no outcome for it")
			return
		}
		if !c.outcomes.Settled(a) {
			c.fail(3, 0, a.Key, a.Version, "it was accepted, but it has no outcome: neither in the log nor by a newer version's")
			return
		}
	}
}
