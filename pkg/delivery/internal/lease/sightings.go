package lease

import "time"

// A sighting is how far the bucket of leases had got at a moment of this
// machine's monotonic clock: what had been written by then has a revision up to
// last.
type sighting struct {
	at     time.Time // of this machine
	last   uint64    // revision
	stored time.Time // when the broker stored that revision, by its clock
}

// sightings finds out for how long a lease has not been renewed, by nothing but
// the clock of this machine: one look at the bucket's last revision serves for all
// leases. Ordered by time.
type sightings []sighting

// add remembers a sighting, and forgets what is too old to matter.
func (s *sightings) add(x sighting) {
	if n := len(*s); n > 0 && x.last < (*s)[n-1].last {
		*s = nil // the broker has lost its newest records: revisions come a second time
	}
	old := 0
	for old+1 < len(*s) && x.at.Sub((*s)[old+1].at) >= MaxTTL {
		old++
	}
	*s = append((*s)[old:], x)
}

// unchanged returns for how long a revision, which is the newest of its key, is
// known to have been there; 0 if it is not known. A revision that was given twice,
// because a broker lost its newest records, is told by the time of its record.
func (s sightings) unchanged(revision uint64, stored, now time.Time) time.Duration {
	for _, x := range s {
		if x.last >= revision && !x.stored.Before(stored) {
			return now.Sub(x.at)
		}
	}
	return 0
}
