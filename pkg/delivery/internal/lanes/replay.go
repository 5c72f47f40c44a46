package lanes

import (
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
)

// A replay brings the update of a dead letter to the target once more, because an operator
// asks for it. It lies in no stream: it is tried as long as nothing live of its key comes,
// a few times at most, and changes no outcome but by being delivered or superseded. Whatever
// else becomes of it, its letter stays (docs/adr/0044).

// Replayed says what came of a replay. If there is neither an outcome nor a failure, and it
// does not yield, the partition is no longer ours.
type Replayed struct {
	Item    *Item
	Settled events.Settlement // delivered or superseded: the log has it
	Failure *events.Failure   // why it was given up
	Yields  bool              // an update of its key came, which goes first
}

// Replay puts an update into the lane of its key, which is pinned. last is the sequence of
// the key's last message in the channel's stream. It reports false while something else of
// the key is in hand, or has not come yet: a former owner may have brought that to the
// target, and it has its outcome first.
func (m *Lanes) Replay(it *Item, key *ledger.Key, last uint64) bool {
	if m.ended || last > m.floor.Last() || m.lanes[key.Encoded()] != nil {
		m.refuse(it, key)
		return false
	}
	it.Replay = true
	m.replays[it] = struct{}{}
	l := m.laneFor(key)
	l.queue = append(l.queue, it)
	m.proceed(l)
	return true
}

// Withdraw ends a replay that is not being attempted: whoever asked for it waits no more, and
// it must not come once its letter may be discarded. It reports false for one whose call or
// outcome is on its way, or that is over.
func (m *Lanes) Withdraw(it *Item) bool {
	l := m.lanes[keyOf(it)]
	if _, there := m.replays[it]; !there || l == nil || l.busy || len(l.queue) == 0 || l.queue[0] != it {
		return false
	}
	m.takeOut(l)
	l.back, l.due = nil, l.asked
	m.endReplay(Replayed{Item: it})
	m.proceed(l)
	return true
}

// endReplay tells what came of a replay, once, and lets go of it.
func (m *Lanes) endReplay(r Replayed) {
	if _, there := m.replays[r.Item]; !there {
		return
	}
	delete(m.replays, r.Item)
	m.todo.Give += r.Item.Size
	m.todo.Replayed = append(m.todo.Replayed, r)
}

// giveUpReplay ends the replay at the head of a lane that failed.
func (m *Lanes) giveUpReplay(l *Lane, s events.Settlement) {
	m.endReplay(Replayed{Item: l.queue[0], Failure: s.Failure()})
	m.settled(l)
}

// abandonReplays lets go of all.
func (m *Lanes) abandonReplays() {
	for it := range m.replays {
		m.endReplay(Replayed{Item: it})
	}
}

// judgeReplay decides about a replay: it may repeat what the target holds, but never move
// it back, nor bring what a newer version has replaced in a channel that keeps the newest.
func judgeReplay(it *Item, rec *wire.Record, latest bool) decision {
	against := rec.Applied.Tag
	if latest && isOlder(against.Version, rec.Settled.Version) {
		against = rec.Settled
	}
	return guarded(it, against)
}

// replayFailed follows an attempt of a replay that settles nothing.
func (m *Lanes) replayFailed(l *Lane, it *Item, a *Answer) {
	switch {
	case !triedAgain(it, a):
		m.giveUpReplay(l, a.settlement(it))
	case len(l.queue) > 1:
		m.endReplay(Replayed{Item: it, Yields: true})
		m.settled(l)
	default:
		m.asideLater(l, it, a)
	}
}
