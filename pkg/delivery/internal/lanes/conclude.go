package lanes

import (
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// retryLogEvery bounds how often the failed attempts of one key are written to
// the outcome log.
const retryLogEvery = 5 * time.Second

// CodeFault is the code of a call in which the connector itself was at fault. What
// had it goes alone from then on.
const CodeFault = "connector_fault"

// An Answer is what came of a call for one update.
type Answer struct {
	connectors.Result
	Message string // of the result's error, for people
	gate.Verdict
}

// Answered makes an answer of a result. It calls what the connector has made, and is not
// for the owner's lock.
func Answered(res connectors.Result, v gate.Verdict) Answer {
	return Answer{Result: res, Message: plain.Message(res), Verdict: v}
}

// settlement returns what is known of an outcome by an answer.
func (a *Answer) settlement(it *Item) events.Settlement {
	return events.Settlement{
		Version: it.Tag.Version, Digest: it.Tag.Digest, ID: it.Update.ID,
		Class: a.Class.String(), Code: plain.Text(a.Code, 64), Message: a.Message,
		Response: plain.Text(a.Response, events.MaxResponseLen),
	}
}

// Filtered ends the head of a lane, which the channel's filter kept back. In a resync that
// changes nothing of what is known about it.
func (m *Lanes) Filtered(l *Lane) {
	it := l.queue[0]
	s := events.Settlement{
		Version: it.Tag.Version, Digest: it.Tag.Digest, ID: it.Update.ID, Outcome: events.Delivered, Code: events.CodeFiltered,
	}
	if it.Resync != nil { // its outcome stays; the filter of now has had its say
		it.keptBack = true
		e := m.entry(it, s, nil)
		e.ReplyTo = ""
		m.Queue(Commit{Entry: e, Key: l.key, Item: it, Lane: l})
		return
	}
	m.settle(l, s, nil)
}

// Concluded decides what follows from the answer to an attempt of a lane's head. It
// reports whether the key is parked from now on.
func (m *Lanes) Concluded(l *Lane, a *Answer) (parked bool) {
	it := l.queue[0]
	l.standing = a.Standing
	l.unsure = a.Class != connectors.OK && (l.unsure || mayHaveCalled(&a.Result))
	l.asked, l.notYet.is = time.Time{}, false
	if a.RetryAfter > 0 && l.standing.Failing() {
		l.asked = m.o.Now().Add(a.RetryAfter)
	}
	if it.Resync != nil {
		m.concludeResync(l, it, a)
		return false
	}
	if it.Replay && a.Class != connectors.OK && a.Class != connectors.Stale {
		m.replayFailed(l, it, a)
		return false
	}
	if it.Tries.First.IsZero() {
		it.Tries.First = m.o.Now()
	}
	it.Tries.Made++
	s := a.settlement(it)
	switch a.Class {
	case connectors.OK:
		it.Tries.Spent++
		s.Outcome, s.Class, s.Message = events.Delivered, "", ""
		m.settle(l, s, a)
		m.trySooner()
	case connectors.Stale:
		it.Tries.Spent++
		s.Outcome, s.By = events.Superseded, a.Held.Version
		m.settle(l, s, a)
	case connectors.Conflict:
		it.Tries.Spent++
		s.Outcome = events.Conflict
		m.settle(l, s, a)
	case connectors.Permanent:
		if !a.Counts { // the channel is blocked: it is not the update's fault
			return m.failed(l, it, s, a, false)
		}
		it.Tries.Spent++
		s.Outcome = events.DeadLettered
		m.settle(l, s, a)
	case connectors.Throttled: // it spends nothing
		return m.failed(l, it, s, a, false)
	case connectors.Unready:
		over := m.unready(l, a)
		if over {
			it.Tries.Spent++
		}
		return m.failed(l, it, s, a, over)
	default:
		if a.Counts {
			it.Tries.Spent++
			it.Tries.failedAt(m.o.Now(), a.Closed)
		}
		return m.failed(l, it, s, a, a.Counts && m.o.Retry.Spent(it.Tries.Spent, it.Tries.trying))
	}
	return false
}

// failed handles a failure that can pass: supersede, give up if that is due, retry or park.
func (m *Lanes) failed(l *Lane, it *Item, s events.Settlement, a *Answer, giveUp bool) (parked bool) {
	it.Tries.alone = it.Tries.alone || a.Code == CodeFault || a.Unasked // it takes the time of others
	if newer, ok := m.newerWaiting(l, it); ok {
		s.Outcome, s.By = events.Superseded, newer
		m.settle(l, s, a)
		return false
	}
	it.Tries.failure = &s
	switch {
	case l.ending != nil:
		m.endByHand(l)
		return false
	case giveUp:
		s.Outcome = events.DeadLettered
		m.settle(l, s, a)
		return false
	}
	wait := m.waitAfter(l, a)
	if !m.shouldPark(it, a) {
		m.failedFor(l, it, s, wait)
		return false
	}
	m.logFailure(l, it, s, wait, wire.Parked)
	l.due = m.o.Now().Add(wait)
	m.park(l)
	return true
}

// waitAfter returns how long the lane's head waits after a failed attempt.
func (m *Lanes) waitAfter(l *Lane, a *Answer) time.Duration {
	if a.Shut { // probes set the pace
		return a.RetryAfter
	}
	return max(m.nextBackoff(l), a.RetryAfter)
}

// newerWaiting returns the version that has overtaken the lane's head, in a
// latest channel: the older one need not be tried again.
func (m *Lanes) newerWaiting(l *Lane, it *Item) (versioning.Version, bool) {
	if !m.o.Latest {
		return versioning.Version{}, false
	}
	for _, next := range l.queue[1:] {
		if next.overtakes(it) {
			return next.Tag.Version, true
		}
	}
	return versioning.Version{}, false
}

// failedFor puts the lane back for a while, and what failed into the log, so that people
// and the next owner see it.
func (m *Lanes) failedFor(l *Lane, it *Item, s events.Settlement, wait time.Duration) {
	outcome := wire.Retrying
	if it.Parked > 0 {
		outcome = wire.Parked
	}
	if m.o.Now().Sub(it.Tries.logged) >= retryLogEvery {
		m.logFailure(l, it, s, wait, outcome)
	}
	m.retryLater(l, wait)
}

// logFailure has an entry about a failed attempt written.
func (m *Lanes) logFailure(l *Lane, it *Item, s events.Settlement, wait time.Duration, as events.Outcome) {
	it.Tries.logged = m.o.Now()
	s.Outcome, s.Attempts = as, it.Tries.Spent
	e := m.entry(it, s, nil)
	e.TryingMS, e.UnreadyMS, e.Asked = it.Tries.trying.Milliseconds(), l.notYet.passed.Milliseconds(), !l.asked.IsZero()
	e.NextAttempt = it.Tries.logged.Add(wait).UTC()
	m.Queue(Commit{Entry: e, Key: l.key})
}
