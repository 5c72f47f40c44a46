package faults

import (
	"time"

	"github.com/hms-utl/extsync/pkg/events"
)

// published: the target got nothing that nobody has published.
func (c *checker) published() {
	for i, w := range c.h.Writes {
		if c.known[version{w.Key, w.Tag}] == nil {
			c.fail(2, w.At, w.Key, w.Version, "write %d at %s applied a version or a content (digest %s) that was never published", i, w.At, w.Digest.Short())
			return
		}
	}
}

// neverBackwards: versions applied to one key never decrease, and one version
// never changes its content (guarantee 2).
func (c *checker) neverBackwards() {
	last := map[string]int{} // by key, the write before
	for i, w := range c.h.Writes {
		before, ok := last[w.Key]
		last[w.Key] = i
		if !ok {
			continue
		}
		p := c.h.Writes[before]
		switch {
		case newer(p.Version, w.Version):
			c.fail(2, w.At, w.Key, w.Version, "applied at %s (write %d, worker %q, attempt %d) after the newer version %s, which was applied at %s (write %d, worker %q, attempt %d)",
				w.At, i, w.Worker, w.Attempt, p.Version, p.At, before, p.Worker, p.Attempt)
			return
		case p.Version == w.Version && p.Digest != w.Digest:
			c.fail(2, w.At, w.Key, w.Version, "applied at %s (write %d) with digest %s after it was applied at %s (write %d) with digest %s",
				w.At, i, w.Digest.Short(), p.At, before, p.Digest.Short())
			return
		}
	}
}

// absenceGrace is how long after the end of an absence what was on its way may
// still arrive.
const absenceGrace = 250 * time.Millisecond

// oneInFlight: there are never two calls of one key in flight (guarantee 2).
func (c *checker) oneInFlight() {
	latest := map[string]int{} // by key, the call that ends last
	for i, call := range c.h.Calls {
		before, ok := latest[call.Key]
		if !ok {
			latest[call.Key] = i
			continue
		}
		p := c.h.Calls[before]
		if call.From < p.To && !c.excused(p) && !c.excused(call) {
			c.fail(2, call.From, call.Key, call.Version,
				"called at %s (call %d, worker %q, attempt %d) while version %s was in flight from %s to %s (call %d, worker %q, attempt %d, answer %s)",
				call.From, i, call.Worker, call.Attempt, p.Version, p.From, p.To, before, p.Worker, p.Attempt, p.Answer)
			return
		}
		if call.To > p.To {
			latest[call.Key] = i
		}
	}
}

func (c *checker) excused(call Call) bool {
	for _, a := range c.h.Absences {
		if a.Worker == call.Worker && call.From <= a.To+absenceGrace && a.From <= call.To {
			return true
		}
	}
	return false
}

// noGap: in every mode no version is skipped before a later one, unless it did
// not end as delivered (guarantee 2).
func (c *checker) noGap() {
	accepted := c.byKey()
	next := map[string]int{} // by key, the first accepted version that was not passed yet
	for i, w := range c.h.Writes {
		list := accepted[w.Key]
		for next[w.Key] < len(list) && !newer(list[next[w.Key]].Version, w.Version) {
			a := list[next[w.Key]]
			next[w.Key]++
			if a.Tag == w.Tag { // another content of the version is another update
				break
			}
			s, ended := c.settled[version{a.Key, a.Tag}]
			if (ended && s.Outcome != events.Delivered) || (!ended && a.Uncertain) {
				continue
			}
			c.fail(2, w.At, w.Key, a.Version, "skipped: version %s was applied at %s (write %d) before it, and its outcome is %q",
				w.Version, w.At, i, s.Outcome)
			return
		}
	}
}
