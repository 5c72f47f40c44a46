package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/hms-utl/extsync/pkg/channels"
)

// flushPause is how long to wait between tries to write the ledger before a
// hand-over.
const flushPause = 100 * time.Millisecond

// flushLoop writes what is new to the ledger until ctx ends.
func (t *tenure) flushLoop(ctx context.Context) {
	t.view.Run(ctx, func(ctx context.Context) (int, error) { return t.flush(ctx, false) },
		func(err error, wait time.Duration) (goOn bool) {
			if errors.Is(err, channels.ErrProgressChanged) {
				t.fail(err)
				return false
			}
			t.p.r.gate.Hold(2 * wait)
			t.log.Warn().Err(err).Msg("write the ledger; outcomes are safe in the log, and the channel waits")
			return true
		})
}

// flush writes every record that is ahead of the bucket, tells JetStream what is settled
// with that, then writes the progress that they add up to. It returns how many records
// there were.
func (t *tenure) flush(ctx context.Context, clean bool) (int, error) {
	t.mu.Lock() // before the records are looked at: they are at least as new
	logSeq, floor, storedAt, done := t.acked, t.lanes.Floor().Value(), t.lanes.Floor().StoredAt(), t.lanes.Done()
	t.mu.Unlock()
	settled := t.acks.take()
	records, err := t.view.Write(ctx)
	if err != nil {
		t.acks.putBack(settled)
		return records, err
	}
	t.ackAll(settled)
	circuit, since, reason := t.p.r.gate.Status()
	next := t.p.r.gate.NextProbe()
	return records, t.changeProgress(ctx, func(p *channels.Progress) {
		p.LogSeq, p.Floor, p.FloorTime, p.Done, p.Clean = logSeq, floor, storedAt, done, clean
		p.Circuit, p.Since, p.Reason = circuit, since.Unix(), reason
		p.NextProbe = 0
		if !next.IsZero() {
			p.NextProbe = next.UnixMilli()
		}
	})
}

// changeProgress changes and stores the partition's progress. channels.ErrProgressChanged
// means that another worker has the partition.
func (t *tenure) changeProgress(ctx context.Context, change func(*channels.Progress)) error {
	return t.progress.Change(ctx, func(p *channels.Progress) {
		change(p)
		p.Restored = t.b.restored.Load()
	})
}

// listKnown has the view list which of the partition's keys have records.
func (t *tenure) listKnown(ctx context.Context) {
	err := t.view.List(ctx, t.p.owns)
	if err != nil && ctx.Err() == nil {
		t.log.Info().Err(err).Msg("the ledger's keys are not listed: each new key's record is looked for")
	}
}
