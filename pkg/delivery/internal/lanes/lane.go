package lanes

import (
	"time"

	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Lane is the queue of one key. One call is in flight per lane at most, and
// what follows waits until its outcome is in the log (guarantee 2).
type Lane struct {
	key    *ledger.Key // its record is in memory as long as the lane is
	queue  []*Item
	busy   bool      // the head is being attempted or committed, or the queue moved
	queued bool      // in the lineup
	due    time.Time // no attempt before
	place  int       // among those that wait, from 1; 0: it does not wait
	back   Backoff   // of a head that fails; nil: it has not
	asked  time.Time // the target has asked for no attempt before

	standing gate.Standing // of the key
	// unsure: a call had no answer since the last one that was delivered.
	unsure bool
	notYet notYet
	// ending hears what becomes of the head, which is to be given up; nil: it is not.
	ending func(events.Settlement)

	parked bool // what comes is moved to the parked stream, see park.go
	// more: the parked stream holds updates of this key behind those in queue;
	// lastInMemory is the sequence there of the last one in queue.
	more         bool
	lastInMemory uint64
	leaving      []*Item // parked, and the ledger is not told yet; older ones first
}

// Key returns the key of the lane. It is pinned as long as the lane is there.
func (l *Lane) Key() *ledger.Key { return l.key }

// Standing returns how the key stands. It changes with Concluded only.
func (l *Lane) Standing() gate.Standing { return l.standing }

// Head returns the update that is next, or is being attempted. It is there as long as the
// lane is in a call. Others may come meanwhile, so this needs the owner's lock.
func (l *Lane) Head() *Item { return l.queue[0] }

// proceed lets a lane that is not busy do what comes next: move to the parked
// stream, read more from there, wait until it is due, or be attempted.
func (m *Lanes) proceed(l *Lane) {
	if l.busy || l.queued || m.ended {
		return // busy lanes come back; an ended tenure's are the next owner's
	}
	switch {
	case l.parked && l.moved() < len(l.queue):
		m.park(l)
	case len(l.queue) == 0 && l.more:
		l.busy = true
		m.count.moving++
		m.todo.Load = append(m.todo.Load, l)
	case len(l.queue) == 0:
		m.retire(l)
	case l.place > 0:
	case !l.due.IsZero() && m.o.Now().Before(l.due):
		m.waiting.add(l)
	default:
		m.ready.add(l)
		m.todo.Wake.Dispatch = true
	}
}

// Postpone lets lanes wait that could not be attempted, before they are tried again.
func (m *Lanes) Postpone(wait time.Duration, batch ...*Lane) {
	for _, l := range batch {
		m.retryLater(l, wait)
	}
}

// Separate lets the heads of a batch go alone from now on.
func (m *Lanes) Separate(batch []*Lane) {
	for _, l := range batch {
		l.queue[0].Tries.alone = l.queue[0].Tries.alone || len(batch) > 1
	}
}

// retryLater lets the lane wait before its head is attempted again.
func (m *Lanes) retryLater(l *Lane, wait time.Duration) {
	if it := l.queue[0]; it.Parked > 0 {
		m.todo.Unload = append(m.todo.Unload, it)
	}
	l.busy, l.due = false, m.o.Now().Add(wait)
	m.proceed(l)
}

// settled takes the head out of its lane.
func (m *Lanes) settled(l *Lane) {
	l.queue = l.queue[1:]
	l.busy, l.back, l.due = false, nil, l.asked
	m.proceed(l)
}

// retire forgets a lane that has nothing left.
func (m *Lanes) retire(l *Lane) {
	key := l.key.Encoded()
	if m.lanes[key] != l {
		return
	}
	m.waiting.remove(l)
	delete(m.lanes, key)
	m.todo.Unpin = append(m.todo.Unpin, l.key)
}

// nextBackoff returns how long the lane's head waits after a failed attempt.
func (m *Lanes) nextBackoff(l *Lane) time.Duration {
	if l.back == nil {
		l.back = m.o.NewBackoff()
	}
	return l.back.NextBackOff()
}
