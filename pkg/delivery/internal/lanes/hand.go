package lanes

import (
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/why"
)

// Counts are what is in hand, of live updates and their keys.
type Counts struct {
	Updates  int       // held and not settled
	Oldest   time.Time // when the broker stored the oldest of them; zero if there is none
	InFlight int       // calls
	Keys     int       // of these updates
	Parked   int       // of these keys: they keep failing
	Ready    int       // of these keys: they wait for nothing but the worker and the target
	// Failing and Waiting count the other keys, by whether they are parked.
	Failing, Waiting int
	Unready          int       // of these two: the target cannot take their update yet
	Next             time.Time // when the first of all lanes is due; zero if none waits
}

// Hand counts what is in hand.
func (m *Lanes) Hand() Counts {
	c := Counts{Updates: len(m.held), InFlight: m.count.inFlight}
	for _, it := range m.held {
		if !it.Published.IsZero() && (c.Oldest.IsZero() || it.Published.Before(c.Oldest)) {
			c.Oldest = it.Published
		}
	}
	for _, l := range m.lanes {
		live := l.more || slices.ContainsFunc(l.queue, (*Item).Live)
		if !live {
			continue
		}
		c.Keys++
		if l.parked {
			c.Parked++
		}
		if l.notYet.is && !l.busy && !l.queued {
			c.Unready++
		}
		switch {
		case l.busy || l.queued:
			c.Ready++
		case l.parked:
			c.Waiting++
		default:
			c.Failing++
		}
		if !l.due.IsZero() && (c.Next.IsZero() || l.due.Before(c.Next)) {
			c.Next = l.due
		}
	}
	return c
}

// Holdings appends the keys that have a live update in hand, and how each stands for that,
// whatever holds the channel back.
func (m *Lanes) Holdings(out []ledger.Holding) []ledger.Holding {
	for _, l := range m.lanes {
		if l.more || slices.ContainsFunc(l.queue, (*Item).Live) {
			out = append(out, ledger.Holding{Key: l.key, Standing: l.stands()})
		}
	}
	return out
}

// stands returns how the key of a lane stands, by its head.
func (l *Lane) stands() why.Standing {
	switch {
	case l.parked:
		return why.Standing{Sync: why.Behind, Health: why.HealthParked, Code: why.Parked}
	case len(l.queue) > 0 && l.queue[0].Tries.failure != nil:
		return why.OfFailure(l.queue[0].Tries.failure.Failure())
	case len(l.queue) > 0 && l.queue[0].Tries.Made > 0: // by a former owner
		return why.OfFailure(nil)
	default:
		return why.Standing{Sync: why.Waiting, Health: why.HealthOK, Code: why.Pending}
	}
}

// Updates returns how many updates are held.
func (m *Lanes) Updates() int { return len(m.held) }

// Keys returns how many keys have something in hand.
func (m *Lanes) Keys() int { return len(m.lanes) }
