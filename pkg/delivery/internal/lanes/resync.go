package lanes

import (
	"slices"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/flow"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
)

// A resync reads the channel's stream again, which in a latest channel is the
// current state, and puts what it finds into the same lanes, behind everything
// live. It changes no outcome but by delivering: what the target refuses is
// reported, and the ledger stays as it was.

// asideTries is how often what is not live is attempted at most.
const asideTries = 5

// A Resync is the share of one partition in a channel's resync.
type Resync struct {
	floor  flow.Floor
	out    map[uint64]*Item // under way, by stream sequence
	report channels.ResyncProgress
}

// resyncs are the one under way, if any, and those that were stopped with updates in
// flight.
type resyncs struct {
	now     *Resync
	dropped []*Resync
}

// BeginResync begins one where its progress says.
func (m *Lanes) BeginResync(from channels.ResyncProgress) *Resync {
	rs := &Resync{out: map[uint64]*Item{}, report: from}
	rs.floor.StartAt(from.Cursor, 0)
	if old := m.resyncs.now; old != nil && len(old.out) > 0 { // a fill that was broken off
		m.resyncs.dropped = append(m.resyncs.dropped, old)
	}
	m.resyncs.now = rs
	return rs
}

// UnderWay returns how many updates of a resync are in lanes.
func (m *Lanes) UnderWay(rs *Resync) int { return len(rs.out) }

// Progress returns how far a resync has got. done says that it has read everything.
func (m *Lanes) Progress(rs *Resync, done bool) channels.ResyncProgress {
	rs.report.Cursor, rs.report.Done, rs.report.At = rs.floor.Value(), done, m.timestamp()
	p := rs.report
	p.Failures = slices.Clone(p.Failures)
	return p
}

// Found puts an update that a resync has found into its lane; its key is pinned. Nothing
// is done where a live one is there, or about to be.
func (m *Lanes) Found(rs *Resync, it *Item, key *ledger.Key) {
	it.Resync = rs
	rs.floor.Add(it.Seq, 0)
	rs.out[it.Seq] = it
	if it.Seq > m.floor.Last() || m.lanes[key.Encoded()] != nil {
		m.todo.Unpin = append(m.todo.Unpin, key)
		m.endResync(it, &rs.report.Skipped)
		return
	}
	l := m.laneFor(key)
	l.queue = append(l.queue, it)
	m.proceed(l)
}

// endResync lets an update of a resync go and counts it.
func (m *Lanes) endResync(it *Item, count *uint64) {
	rs := it.Resync
	if rs.out[it.Seq] != it {
		return
	}
	rs.floor.Done(it.Seq)
	*count++
	m.letGo(it)
}

// letGo gives back what an update of a resync holds.
func (m *Lanes) letGo(it *Item) {
	rs := it.Resync
	if it.Fill != nil {
		rs = it.Fill
	}
	delete(rs.out, it.Seq)
	m.todo.Give += it.Size
	m.todo.Wake.Resync = true
}

// yield takes an update that is not live, and not in flight, out of a lane: a live one
// comes.
func (m *Lanes) yield(l *Lane) {
	if l.busy || len(l.queue) == 0 || l.queue[0].Live() {
		return
	}
	it := l.queue[0]
	m.takeOut(l)
	l.back, l.due = nil, l.asked
	if it.Replay {
		m.endReplay(Replayed{Item: it, Yields: true})
	} else {
		m.endResync(it, &it.Resync.report.Skipped)
	}
}

// takeOut takes a head that is not live out of its lane, which is not busy.
func (m *Lanes) takeOut(l *Lane) {
	l.queue = l.queue[1:]
	m.waiting.remove(l)
	m.ready.remove(l)
}

// DropResync forgets what of a resync is not in flight. The rest counts when it
// ends.
func (m *Lanes) DropResync(rs *Resync) {
	if m.resyncs.now == rs {
		m.resyncs.now = nil
	}
	for _, it := range rs.out {
		l := m.lanes[keyOf(it)]
		if l == nil || l.busy || len(l.queue) == 0 || l.queue[0] != it {
			continue
		}
		m.takeOut(l)
		m.letGo(it) // not done: it comes again
		m.proceed(l)
	}
	if len(rs.out) > 0 {
		m.resyncs.dropped = append(m.resyncs.dropped, rs)
	}
}

// keyOf returns the encoded key of a decoded update.
func keyOf(it *Item) string {
	enc, _ := events.EncodeKey(it.Update.Key) // it was decoded from one
	return enc
}

// abandonResyncs lets go of what resyncs hold.
func (m *Lanes) abandonResyncs() {
	for _, rs := range append(m.resyncs.dropped, m.resyncs.now) {
		if rs == nil {
			continue
		}
		for _, it := range rs.out {
			m.letGo(it)
		}
	}
}

// concludeResync follows an attempt of a resync.
func (m *Lanes) concludeResync(l *Lane, it *Item, a *Answer) {
	if a.Class == connectors.OK {
		it.Tries.Spent++
		m.settle(l, events.Settlement{
			Version: it.Tag.Version, Digest: it.Tag.Digest, ID: it.Update.ID, Outcome: events.Delivered, Code: plain.Text(a.Code, 64),
			Response: plain.Text(a.Response, events.MaxResponseLen),
		}, a)
		return
	}
	rs := it.Resync
	again := triedAgain(it, a)
	switch {
	case m.resyncs.now != rs || again && len(l.queue) > 1: // no longer wanted, or a newer version follows
		m.endResync(it, &rs.report.Skipped)
		m.settled(l)
	case again:
		m.asideLater(l, it, a)
	default:
		if len(rs.report.Failures) < channels.MaxResyncFailures {
			rs.report.Failures = append(rs.report.Failures, channels.ResyncFailure{
				Key: it.Update.Key, Version: it.Tag.Version.String(), Class: a.Class.String(), Code: plain.Text(a.Code, 64), Message: a.Message,
				Response: plain.Text(a.Response, events.MaxResponseLen),
			})
		}
		m.endResync(it, &rs.report.Failed)
		m.settled(l)
	}
}

// triedAgain counts a failed attempt of what is not live, and reports whether there is to
// be another.
func triedAgain(it *Item, a *Answer) bool {
	switch a.Class {
	case connectors.Throttled:
		return true
	case connectors.Transient, connectors.Misconfigured, connectors.Unready:
		if a.Shut {
			return true
		}
		it.Tries.Spent++
		return it.Tries.Spent < asideTries
	default:
		return a.Class == connectors.Permanent && !a.Counts
	}
}

// asideLater has it attempted again.
func (m *Lanes) asideLater(l *Lane, it *Item, a *Answer) {
	wait := m.waitAfter(l, a)
	it.Tries.alone = it.Tries.alone || a.Code == CodeFault
	m.retryLater(l, wait)
}
