package delivery

import (
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
)

// conclude tells everybody whom it concerns of the result of an attempt, and the lanes
// last: they decide what follows.
func (c *caller) conclude(l *lanes.Lane, it *lanes.Item, res connectors.Result, probe bool, took time.Duration, room *workspace) {
	t, g := c.t, c.t.p.r.gate
	if t.ctx.Err() != nil || errors.Is(res.Err, errNoCall) {
		// The partition is no longer ours: whoever has it repeats the call
		// (guarantee 1). The failure is not the update's (guarantee 6). Should
		// the lease be renewed at the last moment after all, it is ours to repeat.
		g.Withdraw(probe)
		t.begin()
		defer t.end()
		t.lanes.Postpone(ledgerRetry, l)
		return
	}
	if res.Class == connectors.OK && res.Code == events.CodeFiltered {
		// The target has heard nothing of it: it is no sign of life of the target.
		g.Withdraw(probe)
		t.p.logAttempt(it, res, took)
		t.begin()
		defer t.end()
		t.lanes.Filtered(l)
		return
	}
	res.RetryAfter = min(max(res.RetryAfter, 0), connectors.MaxRetryAfter)
	verdict := gate.Verdict{Counts: true, Standing: l.Standing()}
	if res.Class == connectors.Permanent && (it.Replay || t.quotas.dead.full.Load()) {
		// It was refused before, or so many were that their letters have no room: one more
		// says nothing new of the target.
		g.Withdraw(probe)
	} else {
		verdict = g.Report(l.Key().Encoded(), l.Standing(), res, probe)
	}
	answer := lanes.Answered(res, verdict)
	t.p.logAttempt(it, res, took)
	t.p.observeAttempt(res, took)
	if res.Class != connectors.OK {
		t.p.r.stats.add(it.Update.Channel, func(s *ChannelStats) { s.Failed++ })
	}
	t.begin()
	parked := t.lanes.Concluded(l, &answer)
	c.takeErrands(room)
	t.end()
	if parked {
		t.log.Info().Str("key", it.Update.Key).Msg("key is parked: its updates no longer hold up others")
	}
	c.runErrands(room)
}

// logAttempt writes one wide line per attempt.
func (p *partition) logAttempt(it *lanes.Item, res connectors.Result, took time.Duration) {
	level := zerolog.DebugLevel
	switch res.Class {
	case connectors.OK:
	case connectors.Conflict, connectors.Permanent, connectors.Stale:
		level = zerolog.WarnLevel
	default:
		level = zerolog.InfoLevel
	}
	e := p.log.WithLevel(level)
	if !e.Enabled() {
		return
	}
	if age := ageOf(it); age >= 0 {
		e.Dur("end_to_end", age)
	}
	if id := traceID(it); id != "" {
		e.Str("trace_id", id)
	}
	e.Str("kind", p.r.entry.Config.Connector.Kind).
		Str("key", it.Update.Key).Stringer("version", it.Tag.Version).Str("id", it.Update.ID).Int("attempt", it.Tries.Made+1).
		Stringer("class", res.Class).Str("code", res.Code).Str("error", plain.Message(res)).
		Dur("took", took).Uint64("sequence", it.Seq).Msg("attempt")
}
