package lanes

import (
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
)

// A key that keeps failing is parked: its updates move, in order, to a stream of
// their own and are settled in the channel's stream. So they neither fill the
// window nor hold the floor back, and no other key waits for them (guarantee 7).
// Their deliveries go on as before; only a copy of what names them stays in
// memory.

const (
	// A failing key is parked after Options.ParkAfter, when it holds the floor
	// back by parkBehind updates, or when failing keys fill half the window.
	parkBehind = 10_000
	// ParkedInMemory bounds the parked updates of one key that are in memory;
	// the rest is read when these are done.
	ParkedInMemory = 1000
	// countEvery is how often all lanes are looked at for failing ones.
	countEvery = 25 * time.Millisecond
	// parkRetry is how long a lane waits when the parked stream did not answer.
	parkRetry = time.Second
)

// A crowd says whether failing keys fill half the window, as of a time.
type crowd struct {
	at    time.Time
	there bool
}

// shouldPark reports whether a lane whose head has just failed is to be moved out of the
// way. While the channel waits nobody is in anybody's way, unless keys that fail leave no
// room for one that has not: that one could tell that it is not the channel.
func (m *Lanes) shouldPark(it *Item, a *Answer) bool {
	if it.Parked > 0 || it.Malformed != nil {
		return false
	}
	now := m.o.Now()
	if !a.Shut && (now.Sub(it.Came)+a.RetryAfter >= m.o.ParkAfter || it.Fill != nil || m.floor.Last()-it.Seq >= parkBehind) {
		return true // few updates of a new channel are in hand at a time
	}
	half := m.o.Window / 2
	if len(m.held) < half {
		return false
	}
	if now.Sub(m.crowd.at) >= countEvery { // not each failure goes through all lanes
		m.crowd = crowd{now, m.failing() >= half}
	}
	return m.crowd.there
}

// failing counts the updates of failing keys that hold the window.
func (m *Lanes) failing() int {
	n := 0
	for _, l := range m.lanes {
		if len(l.queue) > 0 && l.standing.Failing() && l.queue[0].Parked == 0 {
			n += len(l.queue)
		}
	}
	return n
}

// moved returns how many updates of a parked lane are parked, in front of those that
// still lie in the channel's stream: these came after the rest was parked.
func (l *Lane) moved() int {
	n := len(l.queue)
	for n > 0 && l.queue[n-1].Parked == 0 {
		n--
	}
	return n
}

// park has a lane's updates moved, while it is busy.
func (m *Lanes) park(l *Lane) {
	l.busy, l.parked = true, true
	m.waiting.remove(l)
	m.count.moving++ // draining waits for it
	m.todo.Park = append(m.todo.Park, l)
}

// NextMove returns the update of a lane in Actions.Park that is to be moved next; then
// call Moved, or MoveFailed. One is moved at a time: their order must be that of the lane
// even if one of them fails half-way. nil: all are parked, and the lane goes on.
func (m *Lanes) NextMove(l *Lane) *Item {
	if n := l.moved(); n < len(l.queue) {
		return l.queue[n]
	}
	m.tellParked(l)
	m.endMove(l)
	m.dropExcess(l)
	m.proceed(l)
	return nil
}

// Moved notes that the parked stream has an update of a lane, at a sequence there. Its
// message is let go once the ledger knows of it. It reports false for one that was let go
// meanwhile: it was superseded, or the tenure has ended.
func (m *Lanes) Moved(l *Lane, it *Item, at uint64) bool {
	if !m.Holds(it) {
		m.todo.Wake.Tidy = true
		return false
	}
	it.Parked = at
	m.leave(l, it)
	return true
}

// leave has the message of a parked update let go with the next entry about its lane. A
// latest channel's stream keeps the newest version of each key, and a malformed update has
// none: there is nothing to tell.
func (m *Lanes) leave(l *Lane, it *Item) {
	if m.o.Latest || it.Malformed != nil {
		m.releaseParked(it)
		return
	}
	l.leaving = append(l.leaving, it)
	m.leaving[it.Where()] = it
	if len(l.leaving) >= tellMost {
		m.tellParked(l)
	}
}

// tellMost is how many updates of a lane wait at most to be told of: they take room in the
// window until then.
const tellMost = 64

// tellParked has the ledger told of what of a lane was parked: publishers look for a key's
// newest version in the channel's stream, else in the ledger (docs/adr/0041).
func (m *Lanes) tellParked(l *Lane) {
	if len(l.leaving) == 0 {
		return
	}
	var newest []*Item // of each kind of version, for nobody can say which of two kinds is newer
	for _, it := range l.leaving {
		same := slices.IndexFunc(newest, func(other *Item) bool { return sameKind(other.Tag.Version, it.Tag.Version) })
		switch {
		case same < 0:
			newest = append(newest, it)
		case isOlder(newest[same].Tag.Version, it.Tag.Version):
			newest[same] = it
		}
	}
	for i, it := range newest {
		e := m.entry(it, events.Settlement{Version: it.Tag.Version, Digest: it.Tag.Digest, ID: it.Update.ID, Outcome: wire.Parked}, nil)
		e.Head = true
		c := Commit{Entry: e, Key: l.key}
		if i == len(newest)-1 {
			c.Parked = l.leaving
		}
		m.Queue(c)
	}
	l.leaving = nil
}

// releaseParked lets go of the message of a parked update.
func (m *Lanes) releaseParked(it *Item) {
	delete(m.leaving, it.Where())
	switch {
	case it.Size > 0:
		m.leaveHand(it)
	case it.Msg != nil: // it came again, from what a former owner had parked
		m.ack(it)
	}
	it.Size, it.Msg, it.told = 0, nil, true
}

// MoveFailed lets a lane go on one of whose updates could not be parked now: what is left
// stays where it is, and it is tried again.
func (m *Lanes) MoveFailed(l *Lane, it *Item) {
	it.copied = true
	if !m.Holds(it) { // superseded meanwhile
		m.todo.Wake.Tidy = true
	}
	m.tellParked(l)
	m.endMove(l)
	l.parked = l.more || l.queue[0].Parked > 0
	l.due = later(l.due, m.o.Now().Add(parkRetry))
	m.waiting.add(l)
}

func (m *Lanes) endMove(l *Lane) {
	m.count.moving--
	l.busy = false
}

// dropExcess forgets parked updates beyond what one key may have in memory. All of the
// lane is parked.
func (m *Lanes) dropExcess(l *Lane) {
	keep := len(l.queue)
	if l.more { // what was just parked lies behind what is not in memory
		for keep > 0 && l.queue[keep-1].Parked > l.lastInMemory {
			keep--
		}
	} else if keep > m.mostParked {
		keep, l.more = m.mostParked, true
	}
	for _, it := range l.queue[keep:] {
		m.todo.Drop = append(m.todo.Drop, it)
		delete(m.held, it.Where())
	}
	if l.queue = l.queue[:keep]; keep > 0 {
		l.lastInMemory = l.queue[keep-1].Parked
	}
}

// Recovered puts an update that a former owner has parked into its lane, before anything
// arrives. Its key is pinned.
func (m *Lanes) Recovered(it *Item, key *ledger.Key) {
	l := m.laneFor(key)
	l.parked = true
	if len(l.queue) >= m.mostParked {
		l.more = true
		return
	}
	if m.held[it.Where()] != nil {
		return
	}
	m.held[it.Where()] = it
	l.queue = append(l.queue, it)
	l.lastInMemory = it.Parked
	m.proceed(l)
}

// Overtaken says that the channel's stream has a newer version than the head of a lane,
// which is parked and must not be attempted. It is superseded once that one is in the lane.
func (m *Lanes) Overtaken(l *Lane, wait time.Duration) {
	it := l.queue[0]
	if newer, ok := m.newerWaiting(l, it); ok {
		m.settle(l, superseded(it, newer).settlement, nil)
		return
	}
	m.retryLater(l, wait)
}

// Misses reports whether an update that lies in the parked stream is not among those that
// the lanes know of, in memory or not.
func (m *Lanes) Misses(it *Item, key string) bool {
	l := m.lanes[key]
	return m.held[it.Where()] == nil && (l == nil || !l.more)
}

// Ended reports whether an update has its outcome, by the record of its key: a broker that
// was killed has brought it back, or nobody heard that it was removed. This is no event,
// and needs no lock.
func (m *Lanes) Ended(it *Item, rec *wire.Record) bool {
	step := judge(it, rec, m.o.Latest, m.o.Incarnation).what
	return step == Repeats || step == Forgotten
}

// LoadFrom returns from which sequence of the parked stream on a lane in Actions.Load has
// to be read. One more than ParkedInMemory says that there are more.
func (l *Lane) LoadFrom() uint64 { return l.lastInMemory + 1 }

// Loaded takes what was read of a lane, in the order of the parked stream.
func (m *Lanes) Loaded(l *Lane, items []*Item) {
	m.endMove(l)
	l.more = len(items) > m.mostParked
	items = items[:min(len(items), m.mostParked)]
	taken := items[:0]
	for _, it := range items {
		l.lastInMemory = it.Parked
		if m.takesLoaded(l, it) {
			m.held[it.Where()] = it
			taken = append(taken, it)
		}
	}
	l.queue = append(taken, l.queue...) // what came meanwhile is newer
	m.proceed(l)
}

// takesLoaded reports whether an update that was read is to be taken. One that is held
// came again meanwhile, for the ack after parking was lost, and its message is let go; or
// it was overtaken when it was in memory, and its outcome is on its way into the log.
func (m *Lanes) takesLoaded(l *Lane, it *Item) bool {
	old := m.held[it.Where()]
	if old != nil && old.Parked == 0 {
		l.queue = slices.DeleteFunc(l.queue, func(other *Item) bool { return other == old })
		m.leaveHand(old)
		return true
	}
	return old == nil || old.Parked != it.Parked
}

// LoadFailed has a lane read later.
func (m *Lanes) LoadFailed(l *Lane) {
	m.endMove(l)
	l.due = m.o.Now().Add(parkRetry)
	m.waiting.add(l)
}
