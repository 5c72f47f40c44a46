package delivery

import (
	"context"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
)

// A broker whose files were restored goes on from an older state: it gives sequences
// again, for other messages. 'extsync recover' makes a new incarnation, in which no
// floor and no place in the log counts that was written before. What follows notices
// a restored broker where nobody has run it: a floor that cannot be of the stream is
// not believed, the version guard makes starting at 0 harmless, and people are told.

// restoredAdvice is said with every alarm.
const restoredAdvice = "the broker's files were restored without a new incarnation: stop workers and publishers and run 'extsync recover'"

// alarm says that the broker was restored: in the log, in the worker's status, and
// by the progress of what this worker writes from now on in that of everybody.
func (b *broker) alarm(at time.Time) {
	if b.restored.CompareAndSwap(0, at.Unix()) {
		b.stats.tell(func(s *Status) { s.Restored = b.restoredAt() })
	}
}

// restoredAt returns when the broker was found to be restored; zero if it was not.
func (b *broker) restoredAt() time.Time {
	if at := b.restored.Load(); at != 0 {
		return time.Unix(at, 0).UTC()
	}
	return time.Time{}
}

// distrust makes the tenure begin at 0 and tells why.
func (t *takeover) distrust(floor uint64, why string) {
	t.p.restored = true
	t.b.alarm(time.Now())
	t.log.Error().Uint64("floor", floor).Str("found", why).Msg(restoredAdvice + "; the partition begins at 0, which the version guard makes harmless")
}

// older tells that the feed has found the broker restored: the next tenure begins at 0.
func (t *tenure) older(found string) {
	t.b.alarm(time.Now())
	t.log.Error().Str("found", found).Msg(restoredAdvice)
}

// checkLog compares the end of the outcome log with the highest sequence that this
// worker has been given there.
func (m *manager) checkLog(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.b.leaseTTL/4)
	defer cancel()
	seen := m.b.logSeen.Last()
	info, err := m.b.outcomes.Info(ctx)
	if err != nil {
		m.log.Warn().Err(err).Msg("look at the end of the outcome log")
		return
	}
	if last := info.State.LastSeq; last < seen {
		m.b.alarm(time.Now())
		m.log.Error().Uint64("last", last).Uint64("seen", seen).Msg(restoredAdvice)
	}
}

// checkIncarnation returns events.ErrIncarnation if the installation has another one
// than when this worker started.
func (m *manager) checkIncarnation(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.b.leaseTTL/4)
	defer cancel()
	return wire.CheckIncarnation(ctx, m.b.js, m.b.names, m.b.incarnation)
}
