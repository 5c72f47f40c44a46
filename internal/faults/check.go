package faults

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A Violation is a broken guarantee.
type Violation struct {
	Guarantee int // as docs/guarantees.md numbers them
	Key       string
	Version   versioning.Version
	What      string
	at        time.Duration // for the order of violations that have a time
}

// Error says which guarantee was broken, by which version of which key, and how.
func (v *Violation) Error() string {
	return fmt.Sprintf("guarantee %d is violated: key %s, version %s: %s", v.Guarantee, v.Key, v.Version, v.What)
}

// Check proves guarantees 2, 3 and 4 (and of 1 that nothing is called delivered
// which the target never applied) over a whole history, after publishing has
// stopped and every update has settled. It returns nil or a *Violation, the
// first one in time: first what the target saw (guarantee 2), then what the log
// says (1 and 3), then what is left at the end (4).
func Check(h History, accepted []Accepted, outcomes *Outcomes, mode channels.Mode) error {
	c := newChecker(h, accepted, outcomes, mode)
	c.published()
	c.neverBackwards()
	c.oneInFlight()
	if mode == channels.Every {
		c.noGap()
	}
	if len(c.found) > 0 {
		return slices.MinFunc(c.found, func(a, b *Violation) int { return cmp.Compare(a.at, b.at) })
	}
	for _, step := range []func(){c.oneOutcome, c.everyOutcome, c.ledgerAgrees, c.converged} {
		if step(); len(c.found) > 0 {
			return c.found[0]
		}
	}
	return nil
}

// checker holds what the steps share.
type checker struct {
	h        History
	accepted []Accepted
	outcomes *Outcomes
	mode     channels.Mode

	known   map[version]*Accepted
	settled map[version]events.Settlement // the first final entry of the log
	found   []*Violation
}

// version names one content of one version of a key.
type version struct {
	key string
	versioning.Tag
}

func newChecker(h History, accepted []Accepted, outcomes *Outcomes, mode channels.Mode) *checker {
	c := &checker{
		h: h, accepted: accepted, outcomes: outcomes, mode: mode,
		known: make(map[version]*Accepted, len(accepted)), settled: map[version]events.Settlement{},
	}
	for i := range accepted {
		c.known[version{accepted[i].Key, accepted[i].Tag}] = &accepted[i]
	}
	for _, e := range outcomes.Entries {
		id := version{e.Key, versioning.Tag{Version: e.Version, Digest: e.Digest}}
		if _, twice := c.settled[id]; !twice && wire.Final(e.Outcome) {
			c.settled[id] = e.Settlement
		}
	}
	return c
}

func (c *checker) fail(guarantee int, at time.Duration, key string, v versioning.Version, format string, args ...any) {
	c.found = append(c.found, &Violation{Guarantee: guarantee, Key: key, Version: v, What: fmt.Sprintf(format, args...), at: at})
}

// newer reports whether v is newer than w. Versions that cannot be compared do
// not get past the publisher.
func newer(v, w versioning.Version) bool {
	order, err := v.Compare(w)
	return err == nil && order > 0
}

// byKey returns the accepted updates of each key, oldest first.
func (c *checker) byKey() map[string][]*Accepted {
	out := map[string][]*Accepted{}
	for i := range c.accepted {
		out[c.accepted[i].Key] = append(out[c.accepted[i].Key], &c.accepted[i])
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b *Accepted) int {
			order, _ := a.Version.Compare(b.Version) // of one kind within a key
			return order
		})
	}
	return out
}

// ledgerAgrees: what became of each key can be read back (guarantee 3).
func (c *checker) ledgerAgrees() {
	if c.outcomes.Ledger == nil {
		return
	}
	for _, a := range c.accepted {
		log := c.outcomes.Records[a.Key]
		if log == nil {
			continue // no outcome: everyOutcome has judged it
		}
		held, ok := c.outcomes.Ledger[a.Key]
		switch {
		case !ok:
			c.fail(3, 0, a.Key, a.Version, "the log has outcomes of the key, the ledger has no record")
		case held.Applied.Tag != log.Applied.Tag:
			c.fail(3, 0, a.Key, log.Applied.Version, "the ledger says that version %s is applied, the log adds up to %s", held.Applied.Version, log.Applied.Version)
		case held.Settled != log.Settled:
			c.fail(3, 0, a.Key, log.Settled.Version, "the ledger says that version %s is settled, the log adds up to %s", held.Settled.Version, log.Settled.Version)
		case recentTwice(held):
			c.fail(3, 0, a.Key, a.Version, "the ledger lists an outcome twice")
		default:
			continue
		}
		return
	}
}

func recentTwice(r wire.Record) bool {
	seen := map[versioning.Tag]bool{}
	for _, s := range r.Recent {
		tag := versioning.Tag{Version: s.Version, Digest: s.Digest}
		if seen[tag] {
			return true
		}
		seen[tag] = true
	}
	return false
}

// converged: the target holds the newest version of each key, but for keys whose
// newest version ended as a dead letter or a conflict (guarantee 4).
func (c *checker) converged() {
	for key, list := range c.byKey() {
		newest := c.newestOf(list)
		if newest == nil {
			continue
		}
		s, known := c.settled[version{key, newest.Tag}]
		if known && (s.Outcome == events.DeadLettered || s.Outcome == events.Conflict) {
			continue
		}
		switch held, there := c.h.Held[key]; {
		case !there:
			c.fail(4, 0, key, newest.Version, "the target does not have the key, which ended as %q", s.Outcome)
		case held != newest.Tag:
			c.fail(4, 0, key, newest.Version, "it is the newest, but the target holds version %s (digest %s)", held.Version, held.Digest.Short())
		}
	}
	slices.SortFunc(c.found, func(a, b *Violation) int { return cmp.Compare(a.Key, b.Key) })
}

// newestOf returns the newest update that certainly was stored.
func (c *checker) newestOf(list []*Accepted) *Accepted {
	for _, a := range slices.Backward(list) {
		if _, ended := c.settled[version{a.Key, a.Tag}]; ended || !a.Uncertain {
			return a
		}
	}
	return nil
}
