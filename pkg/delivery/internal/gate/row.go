package gate

import (
	"slices"
	"time"
)

// A row is what the last results have in common, since somebody got through.
type row struct {
	keys     []string  // that fail and are no suspects; rowKeys at most
	more     bool      // there are others
	began    time.Time // when the first of them failed
	failures int       // of these, transient ones
	absences int       // failures in a row in which nobody was there
	success  time.Time // when somebody got through
	refusals int       // permanent failures
	unasked  few       // keys of these for which the target was not asked
	costly   few       // keys of transient ones for which it was not asked
}

// rowKeys bounds how many failing keys are named to people.
const rowKeys = 8

func newRow() row { return row{unasked: few{}, costly: few{}} }

// add notes a failure of a key that is no suspect.
func (r *row) add(key string, now time.Time) {
	if len(r.keys) == 0 {
		r.began = now
	}
	switch {
	case slices.Contains(r.keys, key):
	case len(r.keys) < rowKeys:
		r.keys = append(r.keys, key)
	default:
		r.more = true
	}
}

// end follows a success.
func (r *row) end(now time.Time) {
	r.failures, r.absences, r.success, r.began, r.keys, r.more = 0, 0, now, time.Time{}, r.keys[:0], false
	clear(r.costly)
	clear(r.unasked)
}

// few are the first keys of something, as many as show that it is not one key's.
type few map[string]struct{}

// add reports whether there are enough of them.
func (f few) add(key string) bool {
	if len(f) < everybodyKeys {
		f[key] = struct{}{}
	}
	return len(f) >= everybodyKeys
}

// A cast is the keys that a gate has met: whether there is more than one.
type cast struct {
	first   string
	several bool
}

func (c *cast) meet(key string) {
	switch {
	case c.several:
	case c.first == "":
		c.first = key
	default:
		c.several = c.first != key
	}
}

// A Standing is how a key stands: whether it fails, and since when as counted in
// successes of the channel. Whoever keeps the key keeps its standing between two
// attempts. The zero value is that of a key that does not fail.
type Standing struct {
	began uint64 // successes of the channel when it began to fail; 0: it does not
	last  uint64 // successes of the channel when it failed last
}

// Failing reports whether the key fails.
func (s Standing) Failing() bool { return s.began != 0 }

// suspect reports whether somebody got through since the key began to fail: then it is
// the key's fault.
func (s Standing) suspect(successes uint64) bool { return s.began != 0 && s.began < successes }

// others reports whether somebody got through since the key failed last.
func (s Standing) others(successes uint64) bool { return s.last != 0 && s.last < successes }

// failed returns the standing after another failure.
func (s Standing) failed(successes uint64) Standing {
	if s.began == 0 {
		s.began = successes
	}
	s.last = successes
	return s
}

// A fresh paces the tries of keys that have not failed while the others wait. The first
// is made at once; those that fail after it come further and further apart, so that a
// target that is down is not tried with every key there is.
type fresh struct {
	at    time.Time // no try before
	pause time.Duration
}

// failed plans the next try after one in vain.
func (f *fresh) failed(now time.Time, first, most time.Duration) {
	if now.Sub(f.at) > f.pause { // it is a while since the last one
		f.pause = first
	} else {
		f.pause = min(2*f.pause, most)
	}
	f.at = now.Add(f.pause)
}
