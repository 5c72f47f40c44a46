package delivery

import (
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// retryLogEvery bounds how often the failed attempts of one key are written to
// the outcome log.
const retryLogEvery = 5 * time.Second

// conclude decides what follows from the result of a call.
func (t *tenure) conclude(l *lane, it *item, res connectors.Result, probe bool, took time.Duration) {
	g := t.p.r.gate
	if t.ctx.Err() != nil || errors.Is(res.Err, errNoCall) {
		// The partition is no longer ours: whoever has it repeats the call
		// (guarantee 1). The failure is not the update's (guarantee 6). Should
		// the lease be renewed at the last moment after all, it is ours to repeat.
		g.Withdraw(probe)
		t.retryAll([]*lane{l}, ledgerRetry)
		return
	}
	if res.Class == connectors.OK && res.Code == events.CodeFiltered {
		// The target has heard nothing of it: it is no sign of life of the target.
		g.Withdraw(probe)
		t.logAttempt(it, res, took)
		t.filtered(l, it)
		return
	}
	res.RetryAfter = min(max(res.RetryAfter, 0), gate.ThrottleMost)
	var closed time.Time
	if res.Class == connectors.Transient {
		closed = g.ClosedSince() // before the report, which may open it
	}
	counts := g.Report(l.key, res, probe)
	t.logAttempt(it, res, took)
	t.observeAttempt(res, took)
	if res.Class != connectors.OK {
		t.p.r.stats.add(it.u.Channel, func(s *ChannelStats) { s.Failed++ })
	}
	if it.resync != nil {
		t.concludeResync(l, it, res, counts)
		return
	}
	if it.first.IsZero() {
		it.first = time.Now()
	}
	s := events.Settlement{
		Version: it.tag.Version, Digest: it.tag.Digest, ID: it.u.ID,
		Class: res.Class.String(), Code: plain.Text(res.Code, 64), Message: plain.Message(res),
		Response: plain.Text(res.Response, events.MaxResponseLen),
	}
	switch res.Class {
	case connectors.OK:
		it.attempts++
		s.Outcome, s.Class, s.Message = events.Delivered, "", ""
		t.settleAs(l, it, s, res)
	case connectors.Stale:
		it.attempts++
		s.Outcome, s.By = events.Superseded, res.Held.Version
		t.settleAs(l, it, s, res)
	case connectors.Conflict:
		it.attempts++
		s.Outcome = events.Conflict
		t.settleAs(l, it, s, res)
	case connectors.Permanent:
		if !counts { // the channel is blocked: it is not the update's fault
			t.later(l, it, s, 0)
			return
		}
		it.attempts++
		s.Outcome = events.DeadLettered
		t.settleAs(l, it, s, res)
	case connectors.Throttled, connectors.Misconfigured:
		t.later(l, it, s, res.RetryAfter)
	default:
		if counts {
			it.attempts++
			it.tryingFor(closed)
		}
		t.failed(l, it, s, res, counts)
	}
}

// filtered ends an update that the channel's filter kept back. In a resync that
// changes nothing of what is known about it.
func (t *tenure) filtered(l *lane, it *item) {
	if it.resync != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.endResync(it, &it.resync.report.Skipped)
		t.settled(l)
		return
	}
	t.settleAs(l, it, events.Settlement{
		Version: it.tag.Version, Digest: it.tag.Digest, ID: it.u.ID, Outcome: events.Delivered, Code: events.CodeFiltered,
	}, connectors.Result{})
}

// failed handles a transient failure: supersede, retry or give up. counts says that it is
// the update's own.
func (t *tenure) failed(l *lane, it *item, s events.Settlement, res connectors.Result, counts bool) {
	it.alone = it.alone || res.Code == codePanic
	if newer, ok := t.newerWaiting(l, it); ok {
		s.Outcome, s.By = events.Superseded, newer
		t.settleAs(l, it, s, res)
		return
	}
	if t.p.r.entry.Config.Retry.Spent(it.attempts, it.trying) {
		s.Outcome = events.DeadLettered
		t.settleAs(l, it, s, res)
		return
	}
	wait := time.Duration(0) // while the circuit is open its probes set the pace
	if counts {
		t.mu.Lock()
		wait = t.nextBackoff(l)
		t.mu.Unlock()
	}
	wait = max(wait, res.RetryAfter)
	t.mu.Lock()
	park := counts && t.shouldPark(l, it)
	t.mu.Unlock()
	if !park {
		t.later(l, it, s, wait)
		return
	}
	t.log.Info().Str("key", it.u.Key).Msg("key is parked: its updates no longer hold up others")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.logFailure(l, it, s, wait, events.Parked)
	l.due = time.Now().Add(wait)
	t.startParking(l)
}

// tryingFor adds the time since the last failed attempt to that for which the
// update has been tried, as far as the circuit was closed: since a time, or, if that is
// zero, not at all.
func (it *item) tryingFor(closed time.Time) {
	now := time.Now()
	if !it.failed.IsZero() && !closed.IsZero() {
		it.trying += now.Sub(maxTime(it.failed, closed))
	}
	it.failed = now
}

// newerWaiting returns the version that has overtaken the lane's head, in a
// latest channel: the older one need not be tried again.
func (t *tenure) newerWaiting(l *lane, it *item) (versioning.Version, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.latest() {
		return versioning.Version{}, false
	}
	for _, next := range l.queue[1:] {
		if next.malformed == nil && isOlder(it.tag.Version, next.tag.Version) {
			return next.tag.Version, true
		}
	}
	return versioning.Version{}, false
}

// later puts the lane back, and what failed into the log, so that people and the
// next owner see it.
func (t *tenure) later(l *lane, it *item, s events.Settlement, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	outcome := events.Retrying
	if it.parked > 0 {
		outcome = events.Parked
	}
	if time.Since(it.lastLogged) >= retryLogEvery {
		t.logFailure(l, it, s, wait, outcome)
	}
	t.retryLater(l, wait)
}

// logFailure queues an entry about a failed attempt. The caller holds mu.
func (t *tenure) logFailure(l *lane, it *item, s events.Settlement, wait time.Duration, as events.Outcome) {
	it.lastLogged = time.Now()
	s.Outcome, s.Attempts = as, it.attempts
	e := t.entry(it, s, connectors.Result{})
	e.TryingMS = it.trying.Milliseconds()
	e.NextAttempt = it.lastLogged.Add(wait).UTC()
	t.enqueueCommit(commit{entry: e, key: l.pinned})
}

// logAttempt writes one wide line per attempt.
func (t *tenure) logAttempt(it *item, res connectors.Result, took time.Duration) {
	level := zerolog.DebugLevel
	switch res.Class {
	case connectors.OK:
	case connectors.Conflict, connectors.Permanent, connectors.Stale:
		level = zerolog.WarnLevel
	default:
		level = zerolog.InfoLevel
	}
	e := t.log.WithLevel(level)
	if !e.Enabled() {
		return
	}
	if age := it.age(); age >= 0 {
		e.Dur("end_to_end", age)
	}
	if id := traceID(it); id != "" {
		e.Str("trace_id", id)
	}
	e.Str("kind", t.p.r.entry.Config.Connector.Kind).
		Str("key", it.u.Key).Stringer("version", it.tag.Version).Str("id", it.u.ID).Int("attempt", it.attempts+1).
		Stringer("class", res.Class).Str("code", res.Code).Str("error", plain.Message(res)).
		Dur("took", took).Uint64("sequence", it.seq).Msg("attempt")
}
