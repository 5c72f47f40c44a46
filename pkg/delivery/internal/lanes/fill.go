package lanes

import "github.com/hms-utl/extsync/pkg/delivery/internal/ledger"

// A channel that reads a topic and is new begins with what comes from then on, and reads
// what the topic has by a second cursor, as a resync does: so live updates need not wait
// behind a million keys. What it finds that way is as live as they are: it gets its outcome,
// is tried again, parked and given up as they are. Only its turn comes last, and the cursor
// takes the place of the floor.

// Filled takes an update that was found so into its lane; its key is pinned.
func (m *Lanes) Filled(rs *Resync, it *Item, key *ledger.Key) {
	it.Fill = rs
	rs.floor.Add(it.Seq, 0)
	rs.out[it.Seq] = it
	old := m.holder(it)
	if old != nil && old.Fill != nil && old.Fill.out[old.Seq] == old {
		// A reading that was broken off has left it in hand. It must not count as done before
		// it has an outcome.
		m.todo.Unpin = append(m.todo.Unpin, key)
		m.todo.Give += it.Size
		delete(old.Fill.out, old.Seq)
		old.Fill, rs.out[old.Seq] = rs, old
		return
	}
	if it.Seq > m.floor.Last() || old != nil { // it comes by itself, or is there
		m.todo.Unpin = append(m.todo.Unpin, key)
		m.endFill(it)
		return
	}
	m.held[it.Where()] = it
	l := m.laneFor(key)
	m.yield(l)
	if it.Malformed == nil {
		m.supersedeWaiting(l, it)
	}
	l.queue = append(l.queue, it)
	m.proceed(l)
}

// endFill lets go of the message of an update that was found so, and counts it.
func (m *Lanes) endFill(it *Item) {
	m.todo.Wake.Flush = true
	if rs := it.Fill; rs.out[it.Seq] == it {
		rs.floor.Done(it.Seq)
		rs.report.Delivered++
		m.letGo(it)
	}
}
