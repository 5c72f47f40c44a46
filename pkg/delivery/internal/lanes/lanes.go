package lanes

import (
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/flow"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Options say how updates are treated.
type Options struct {
	Latest      bool             // only a key's newest version counts: the channel's mode
	Window      int              // updates in hand at most
	Calls       int              // in flight at most
	Retry       channels.Retry   // of a failing update
	ParkAfter   time.Duration    // for which a key may fail before it is parked
	Incarnation wire.Incarnation // of the installation
	Names       events.Names     // tell which reply subjects are allowed
	// Remembers: what the target answered goes with the next update of the key.
	Remembers bool
	// Removes: what does not pass the channel's filter is deleted at the target. Content is
	// that of the configuration which says so.
	Removes bool
	Content wire.ContentID
	// AfterOutage: what comes waited for the target, which is back. No attempt of a former
	// owner has to be waited for.
	AfterOutage bool
	// NewBackoff returns the waits of an update that begins to fail.
	NewBackoff func() Backoff
	// Now is the time. It must not go back.
	Now func() time.Time
}

// A Backoff says how long to wait after each failure.
type Backoff interface{ NextBackOff() time.Duration }

// Lanes are the queues of a partition's keys. They are not safe for concurrent use: the
// owner has a lock around them and what it does with their Actions.
type Lanes struct {
	o       Options
	lanes   map[string]*Lane // by encoded key
	held    map[Place]*Item
	leaving map[Place]*Item // parked, and the ledger is not told yet; mostly held, too
	floor   flow.Floor
	ready   lineup
	waiting waits
	early   []*Lane   // that were not ready, those that wait for the longest time first
	sooner  time.Time // when one of them was tried before its time
	count   count
	crowd   crowd
	resyncs resyncs
	replays map[*Item]struct{} // in lanes, or on their way into the log
	todo    Actions
	// refreshing says that no more calls begin: what is held is given back.
	refreshing bool
	ended      bool
	since      uint64 // see Begins
	original   bool
	alone      bool
	mostParked int // updates of a key in memory; less than ParkedInMemory in tests
}

// A count is what is under way.
type count struct {
	received  int // messages of the consumer
	inHand    int // updates in held whose message is not let go of
	inFlight  int // calls
	behind    int // of these: for what is not live, or of a new channel
	moving    int // lanes on their way to or from the parked stream
	unsettled int // commits with an update that are not in the log
}

// New returns lanes that hold nothing.
func New(o Options) *Lanes {
	return &Lanes{o: o, lanes: map[string]*Lane{}, held: map[Place]*Item{}, leaving: map[Place]*Item{}, replays: map[*Item]struct{}{}, mostParked: ParkedInMemory}
}

// Floor returns up to where updates are settled. It is the lanes' own; the owner sets
// where it starts.
func (m *Lanes) Floor() *flow.Floor { return &m.floor }

// End says that the partition is another owner's, or will be: lanes that are not being
// attempted stay as they are.
func (m *Lanes) End() { m.ended = true }

// Holds reports whether an update is held: it has come, and was not let go.
func (m *Lanes) Holds(it *Item) bool { return m.held[it.Where()] == it }

// Full reports whether as many updates are in hand as the window allows.
func (m *Lanes) Full() bool { return m.count.inHand >= m.o.Window }

// Idle reports whether nothing is on its way: no call, no move, and no outcome into the log.
func (m *Lanes) Idle() bool {
	return m.count.inFlight == 0 && m.count.moving == 0 && m.count.unsettled == 0
}

// Received returns how many messages the consumer has given.
func (m *Lanes) Received() uint64 { return uint64(m.count.received) } //nolint:gosec // not negative

// Done returns how many of these are done with.
func (m *Lanes) Done() uint64 { return uint64(max(0, m.count.received-m.count.inHand)) } //nolint:gosec // not negative

// Anew says that another consumer gives all above the floor again.
func (m *Lanes) Anew() { m.count.received = 0 }

// Arrived takes an update from the consumer, whose key is pinned, into its lane. One that
// came before is let go at once, for only its newest copy can be acked.
func (m *Lanes) Arrived(it *Item, key *ledger.Key) {
	m.count.received++
	if old := m.holder(it); old != nil { // a redelivery
		m.cameAgain(old, it, key)
		return
	}
	if !m.floor.Add(it.Seq, it.Published.UnixNano()) { // settled before; its ack was lost
		m.ack(it)
		m.refuse(it, key)
		return
	}
	m.held[it.Where()] = it
	m.count.inHand++
	l := m.laneFor(key)
	m.yield(l)
	if m.o.Latest && it.Malformed == nil {
		m.supersedeWaiting(l, it)
	}
	l.queue = append(l.queue, it)
	m.proceed(l)
}

// Passed lets go of an update from the consumer that is not the channel's.
func (m *Lanes) Passed(it *Item) {
	m.count.received++
	if m.floor.Add(it.Seq, it.Published.UnixNano()) {
		m.floor.Done(it.Seq)
	}
	m.todo.Wake.Flush = true
}

// holder returns the update that another copy of is held; nil if none is.
func (m *Lanes) holder(it *Item) *Item {
	if old := m.held[it.Where()]; old != nil {
		return old
	}
	return m.leaving[it.Where()]
}

// cameAgain takes another copy of the message of an update.
func (m *Lanes) cameAgain(old, it *Item, key *ledger.Key) {
	switch l := m.lanes[key.Encoded()]; {
	case old.Parked == 0 || old.Msg != nil:
		old.Msg = it.Msg
	case old.told || l == nil: // its ack was lost
		m.ack(it)
	default: // a former owner has parked it, and may not have told
		old.Msg = it.Msg
		m.leave(l, old)
		m.tellParked(l)
	}
	m.refuse(it, key)
}

// refuse gives back what an update that is not taken in came with.
func (m *Lanes) refuse(it *Item, key *ledger.Key) {
	m.todo.Give += it.Size
	m.todo.Unpin = append(m.todo.Unpin, key)
}

// ack has the message of an update told that it is settled, where that matters.
func (m *Lanes) ack(it *Item) {
	m.todo.Wake.Flush = true // the floor may have moved, and the message waits for the ledger
	if !m.o.Latest {
		m.todo.Acks = append(m.todo.Acks, Ack{it.Seq, it.Msg})
	}
}

// laneFor returns the lane of a key, a new one if there is none, which keeps the pin.
func (m *Lanes) laneFor(key *ledger.Key) *Lane {
	l := m.lanes[key.Encoded()]
	if l != nil {
		m.todo.Unpin = append(m.todo.Unpin, key)
		return l
	}
	l = &Lane{key: key}
	m.lanes[key.Encoded()] = l
	return l
}

// supersedeWaiting takes what is older than it, and not being attempted, out of
// the lane. A newer version takes a waiting lane over at once, with a fresh
// schedule.
func (m *Lanes) supersedeWaiting(l *Lane, it *Item) {
	first := 0
	if l.busy && len(l.queue) > 0 { // it is empty while parked ones are read
		first = 1
	}
	kept := slices.Clone(l.queue[:first])
	for _, old := range l.queue[first:] {
		if it.overtakes(old) {
			e := m.entry(old, superseded(old, it.Tag.Version).settlement, nil)
			e.Open = l.open()
			m.Queue(Commit{Entry: e, Key: l.key, Item: old})
			continue
		}
		kept = append(kept, old)
	}
	if len(kept) == len(l.queue) {
		return
	}
	l.queue = kept
	l.parked = slices.ContainsFunc(kept, func(it *Item) bool { return it.Parked > 0 })
	if !l.busy {
		m.waiting.remove(l)
		l.back, l.due = nil, l.asked
	}
}

// open returns the version of the head if its call may be in flight: until it has an
// outcome, none may be told because a newer one has.
func (l *Lane) open() versioning.Version {
	if !l.busy || len(l.queue) == 0 || !l.queue[0].Live() {
		return versioning.Version{}
	}
	return l.queue[0].Tag.Version
}

// Abandon lets go of what is held; the broker has it.
func (m *Lanes) Abandon() {
	// A replay that waited for room gets it now, and must not come in.
	m.ended = true
	for _, all := range []map[Place]*Item{m.held, m.leaving} { // one may be in both
		for at, it := range all {
			m.todo.Give += it.Size
			it.Size = 0
			delete(all, at)
		}
	}
	m.abandonResyncs()
	m.abandonReplays()
}

// Held calls f with each update that is held.
func (m *Lanes) Held(f func(*Item)) {
	for _, it := range m.held {
		f(it)
	}
}
