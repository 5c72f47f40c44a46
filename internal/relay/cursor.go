package relay

import (
	"time"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// readAllEvery bounds how often a table is read from its beginning because its newest row is
// gone.
const readAllEvery = time.Minute

// An Overlap is how far behind the newest version a pass over a table begins: the versions of
// a transaction may be older than some that were committed before it.
type Overlap struct {
	Versions int64         // where versions are numbers
	Time     time.Duration // where they are times
}

// A cursor is the place up to which a table was read. It is in memory only, so that the first
// pass reads all: a record of it could not tell that the database or the broker has come back
// older than it was.
type cursor struct {
	overlap Overlap
	// at is the newest version that was seen; zero before the first pass.
	at versioning.Version
	// pins are, for targets of which something was left, where to begin again.
	pins map[string]versioning.Version
	// anew is set when the newest row is gone: it was removed, or the database has come back
	// older. What it gets then may have versions that it had before.
	anew bool
	all  time.Time // when all was read last
}

func newCursor(o Overlap) *cursor { return &cursor{overlap: o, pins: map[string]versioning.Version{}} }

// begin returns the place at which a pass begins, and the pinned targets that are not free.
func (c *cursor) begin(free func(target string) bool) (from versioning.Version, held map[string]bool) {
	from, held = c.at, map[string]bool{}
	if c.anew && time.Since(c.all) >= readAllEvery {
		from = versioning.Version{}
	}
	for target, pin := range c.pins {
		switch {
		case !free(target):
			held[target] = true
		case older(pin, from):
			from = pin
		}
	}
	if from.IsZero() {
		c.all = time.Now()
	}
	return from, held
}

// after returns the version after which a pass reads that begins at a place.
func (c *cursor) after(from versioning.Version) versioning.Version { return c.overlap.Before(from) }

// Before returns the version that is so far before another. The zero Version is before all.
func (o Overlap) Before(v versioning.Version) versioning.Version {
	if n, ok := v.Int64(); ok {
		return orNone(versioning.Number(n - o.Versions))
	}
	if at, ok := v.AsTime(); ok {
		if now := time.Now(); at.After(now) { // one row of the far future must not hide all others
			at = now
		}
		return orNone(versioning.Time(at.Add(-o.Time)))
	}
	return versioning.Version{}
}

func orNone(v versioning.Version, err error) versioning.Version {
	if err != nil {
		return versioning.Version{}
	}
	return v
}

// end notes a pass that has read all rows from a place on: the newest version among them, and
// the targets of which something was left. It returns those of which nothing is any more.
func (c *cursor) end(from, newest versioning.Version, held, left map[string]bool) (done []string) {
	for target := range c.pins {
		if !held[target] && !left[target] {
			delete(c.pins, target)
			done = append(done, target)
		}
	}
	for target := range left {
		if pin, pinned := c.pins[target]; !pinned || older(from, pin) {
			c.pins[target] = from
		}
	}
	if from.IsZero() || !older(newest, c.at) {
		c.at, c.anew = newest, false
	} else {
		c.anew = true
	}
	return done
}

// older reports whether one place is before another. No version is before every other.
func older(v, w versioning.Version) bool {
	order, err := v.Compare(w)
	return err == nil && order < 0
}
