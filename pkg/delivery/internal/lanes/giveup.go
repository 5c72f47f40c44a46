package lanes

import (
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
)

// An operator may give an update up that fails, for while nobody gets through nothing is
// given up by itself.

// Ended tells Tell the outcome of an update. Tell must not block.
type Ended struct {
	Tell    func(events.Settlement)
	Settled events.Settlement
}

// GiveUp ends the update at the head of a key's lane, and has its outcome told once the log
// has it. It is given up now if it has failed here, else when its next attempt fails. It
// reports false if nothing of the key is in hand; else what it leaves to do is in flight
// until CallEnded.
func (m *Lanes) GiveUp(key string, tell func(events.Settlement)) bool {
	l := m.lanes[key]
	if m.ended || l == nil || len(l.queue) > 0 && !l.queue[0].Live() {
		return false
	}
	m.count.inFlight++
	l.ending = tell
	if !l.busy && len(l.queue) > 0 && l.queue[0].Tries.failure != nil {
		m.waiting.remove(l)
		m.ready.remove(l)
		l.busy = true
		m.endByHand(l)
	}
	return true
}

// KeepOn takes GiveUp back.
func (m *Lanes) KeepOn(key string) {
	if l := m.lanes[key]; l != nil {
		l.ending = nil
	}
}

// endByHand gives the head of a busy lane up, which has failed.
func (m *Lanes) endByHand(l *Lane) {
	s := *l.queue[0].Tries.failure
	s.Outcome, s.Code = events.DeadLettered, events.CodeGivenUp
	s.Message = plain.Text("given up by hand: "+s.Message, events.MaxMessageLen)
	m.settle(l, s, nil)
}

// tellEnded has the outcome of a lane's head told to who had it given up.
func (m *Lanes) tellEnded(l *Lane, s events.Settlement) {
	if l.ending != nil {
		m.todo.Ended = append(m.todo.Ended, Ended{l.ending, s})
		l.ending = nil
	}
}
