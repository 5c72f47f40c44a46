package lanes

import (
	"slices"
	"time"
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

// Updates returns how many updates are held.
func (m *Lanes) Updates() int { return len(m.held) }

// Keys returns how many keys have something in hand.
func (m *Lanes) Keys() int { return len(m.lanes) }
