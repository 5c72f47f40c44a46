package lanes

import (
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Judge decides by the ledger's record of its key what becomes of a lane's head, which is
// about to be attempted, and does it but where it needs a call.
func (m *Lanes) Judge(l *Lane, rec *wire.Record) Step {
	it := l.queue[0]
	if wait := m.resume(l, it, rec); wait > 0 {
		m.retryLater(l, wait)
		return Waits
	}
	if letter := it.letter; letter != nil && !isVoid(it, rec) {
		it.letter = nil
		m.todo.Letters = append(m.todo.Letters, *letter)
		return Settles
	}
	d := judge(it, rec, m.o.Latest, m.o.Incarnation)
	switch d.what {
	case Repeats: // guarantee 3: one outcome, however often it comes
		m.todo.Again = append(m.todo.Again, Repeat{l, it, m.entry(it, d.settlement, nil)})
	case Settles:
		if it.Replay && d.settlement.Outcome != events.Superseded {
			m.giveUpReplay(l, d.settlement)
		} else {
			m.settle(l, d.settlement, nil)
		}
	case Skips:
		m.endResync(it, &it.Resync.report.Skipped)
		m.settled(l)
	case Forgotten:
		m.forget(l, it)
	case Calls:
		m.remember(l, it, rec)
	case Waits:
	}
	return d.what
}

// resume takes over the attempts that a former owner has spent on the update,
// and returns how long its next attempt has still to wait.
func (m *Lanes) resume(l *Lane, it *Item, rec *wire.Record) time.Duration {
	if it.Tries.resumed {
		return 0
	}
	it.Tries.resumed = true
	if !it.Live() {
		return 0
	}
	l.notYet.passed = max(l.notYet.passed, time.Duration(rec.UnreadyMS)*time.Millisecond)
	if rec.State == wire.StateSettled || rec.Pending != it.Tag {
		return 0
	}
	it.Tries.Made = rec.Attempts
	it.Tries.Spent, it.Tries.trying = rec.Attempts, time.Duration(rec.TryingMS)*time.Millisecond
	if m.o.AfterOutage && !rec.Asked { // as everybody who waited when the target came back
		return 0
	}
	return min(rec.NextAttempt.Sub(m.o.Now()), connectors.MaxRetryAfter)
}

// settle gives the head of a lane its outcome, by an answer if there was one: a dead letter
// is stored first, then the outcome goes to the log.
func (m *Lanes) settle(l *Lane, s events.Settlement, a *Answer) {
	it := l.queue[0]
	s.Attempts, s.At = it.Tries.Spent, m.timestamp()
	e := m.entry(it, s, a)
	if s.Outcome != events.DeadLettered && s.Outcome != events.Conflict {
		m.Queue(Commit{Entry: e, Key: l.key, Item: it, Lane: l})
		return
	}
	letter := Letter{Lane: l, Item: it, Entry: e, Response: s.Response}
	if a != nil {
		letter.Response = plain.Text(a.Response, connectors.MaxResponse)
	}
	m.todo.Letters = append(m.todo.Letters, letter)
}

// Stored says that the broker has a letter: its outcome is committed.
func (m *Lanes) Stored(letter *Letter) {
	m.Queue(Commit{Entry: letter.Entry, Key: letter.Lane.key, Item: letter.Item, Lane: letter.Lane})
}

// Unstored has a letter stored later: the target is not asked again.
func (m *Lanes) Unstored(letter *Letter, wait time.Duration) {
	kept := *letter
	letter.Item.letter = &kept
	m.retryLater(letter.Lane, wait)
}

// Lost gives up the head of a lane that is parked and whose content is gone, which the
// text tells.
func (m *Lanes) Lost(l *Lane, text string) {
	d := settle(l.queue[0], events.DeadLettered, connectors.Permanent, codeParkedLost, text)
	m.settle(l, d.settlement, nil)
}

// Unreadable returns the entry of an update that cannot be read and is in no lane.
func (m *Lanes) Unreadable(it *Item) wire.Entry {
	d := settle(it, events.DeadLettered, connectors.Permanent, CodeMalformed, it.Malformed.Error())
	return m.entry(it, d.settlement, nil)
}

// Queue has an entry written to the log whose key is pinned. It is for what is in no lane;
// the lanes do so for their own.
func (m *Lanes) Queue(c Commit) {
	if c.waited() {
		m.count.unsettled++
	}
	m.todo.Commits = append(m.todo.Commits, c)
}

// timestamp is what records carry: UTC, milliseconds.
func (m *Lanes) timestamp() time.Time { return m.o.Now().UTC().Truncate(time.Millisecond) }

// entry returns the log's entry of an update, by an answer if there was one.
func (m *Lanes) entry(it *Item, s events.Settlement, a *Answer) wire.Entry {
	if s.At.IsZero() {
		s.At = m.timestamp()
	}
	e := wire.Entry{Key: it.Update.Key, Op: it.Update.Op, Settlement: s, Sequence: it.Seq}
	if a != nil {
		e.Held = a.Held.Version
		if s.Outcome == events.Delivered {
			e.Refs = refsAfter(it, &a.Result)
		}
	}
	if it.Update.ReplyTo == "" || !wire.Final(s.Outcome) {
		return e
	}
	if wire.ReplyAllowed(m.o.Names, it.Update.ReplyTo) {
		e.ReplyTo, e.ReplyLines = it.Update.ReplyTo, it.Update.ReplyLines
	} else if !it.refused {
		it.refused = true
		m.todo.Refused = append(m.todo.Refused, it)
	}
	return e
}

// Known reports whether an update that was overtaken in its lane has an outcome already:
// a former owner died before it could settle it. It keeps that one (guarantee 3), and its
// entry says so. rec is the record of its key. This is no event, and needs no lock.
func (m *Lanes) Known(c *Commit, rec *wire.Record) bool {
	if s, ok := rec.Find(c.Item.Tag); ok {
		c.Entry.Settlement = s
		return true
	}
	if endedBefore(c.Item, rec, m.o.Incarnation) {
		c.Entry.ReplyTo = "" // the publisher was told, and we cannot say what
		return true
	}
	return false
}

// Resolves reports whether a committed outcome may have settled dead letters of
// its key. rec is the record with the outcome, applied what the target held
// before, lettered whether the key is known to have letters.
func (c *Commit) Resolves(rec *wire.Record, applied versioning.Version, lettered bool) bool {
	if c.Item != nil && !c.Item.Live() {
		return true
	}
	if lettered && (c.Entry.Outcome == events.Delivered || c.Entry.Outcome == events.Superseded || c.Item != nil && c.Item.Rim.Lettered) {
		return true
	}
	if c.Entry.Outcome != events.Delivered {
		return false
	}
	for _, s := range rec.Recent {
		if (s.Outcome == events.DeadLettered || s.Outcome == events.Conflict) && !isOlder(s.Version, applied) {
			return true
		}
	}
	return false
}

// Committed follows a commit whose outcome the log has, and whose ack is out: the update
// is let go, and its lane goes on.
func (m *Lanes) Committed(c *Commit) {
	m.todo.Unpin = append(m.todo.Unpin, c.Key)
	if !c.waited() {
		return
	}
	m.count.unsettled--
	for _, it := range c.Parked {
		m.releaseParked(it)
	}
	if c.Item != nil && c.Item.Replay {
		m.endReplay(Replayed{Item: c.Item, Settled: c.Entry.Settlement})
	} else if c.Item != nil {
		m.finish(c.Item)
	}
	switch {
	case c.Lane == nil:
	case c.Item != nil:
		c.Lane.notYet.ready(c.Entry.Outcome)
		m.tellEnded(c.Lane, c.Entry.Settlement)
		m.settled(c.Lane)
	default: // it waited for a change of the record
		c.Lane.busy = false
		m.proceed(c.Lane)
	}
}

// Reset has a key reset by a commit, if nothing of the key is in hand; else it reports
// false. What comes before the commit is in the log waits in the lane: the record decides
// about it as the reset leaves it. The key is pinned.
func (m *Lanes) Reset(c Commit) bool {
	if m.lanes[c.Key.Encoded()] != nil {
		m.todo.Unpin = append(m.todo.Unpin, c.Key)
		return false
	}
	m.change(c)
	return true
}

// SetRefs has what is remembered of a key changed by a commit, if none of its updates is
// being attempted; else it reports false. The next attempt sees it. The key is pinned.
func (m *Lanes) SetRefs(c Commit) bool {
	if l := m.lanes[c.Key.Encoded()]; l != nil {
		if l.busy {
			m.todo.Unpin = append(m.todo.Unpin, c.Key)
			return false
		}
		m.waiting.remove(l)
		m.ready.remove(l)
	}
	m.change(c)
	return true
}

// change lets the lane of a key wait for a commit that changes its record.
func (m *Lanes) change(c Commit) {
	c.Lane = m.laneFor(c.Key)
	c.Lane.busy = true
	m.Queue(c)
}

// SentAgain says that an ack of Actions.Again is out.
func (m *Lanes) SentAgain(r *Repeat) {
	m.finish(r.Item)
	m.tellEnded(r.Lane, r.Entry.Settlement)
	m.settled(r.Lane)
}

// forget lets go of the head of a lane that needs no outcome: it is the mark of a
// reset, or an update that ended before and that the broker has brought back.
func (m *Lanes) forget(l *Lane, it *Item) {
	switch {
	case it.Resync != nil:
		m.endResync(it, &it.Resync.report.Skipped)
	case it.Replay: // its letter ended with the key's reset
		m.endReplay(Replayed{Item: it, Yields: true})
	default:
		m.finish(it)
	}
	m.settled(l)
}

// finish lets go of an update that is settled.
func (m *Lanes) finish(it *Item) {
	switch {
	case it.keptBack:
		m.endResync(it, &it.Resync.report.Skipped)
		return
	case it.Resync != nil:
		m.endResync(it, &it.Resync.report.Delivered)
		return
	}
	if !m.Holds(it) {
		return // let go when the tenure ended
	}
	delete(m.held, it.Where())
	if it.Parked > 0 {
		m.todo.Drop = append(m.todo.Drop, it)
		m.todo.Delete = append(m.todo.Delete, it.Parked)
		return
	}
	m.todo.Wake.Tidy = m.todo.Wake.Tidy || it.copied
	m.leaveHand(it)
}

// leaveHand lets go of the message of an update that is settled, or that the parked
// stream has.
func (m *Lanes) leaveHand(it *Item) {
	if it.Fill != nil {
		m.endFill(it)
		return
	}
	m.ack(it)
	m.floor.Done(it.Seq)
	m.todo.Give += it.Size
	m.count.inHand--
	m.todo.Wake.Pull = true
}
