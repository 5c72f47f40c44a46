package delivery

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
)

// flushPause is how long to wait between tries to write the ledger before a
// hand-over.
const flushPause = 100 * time.Millisecond

// A flusher writes what follows from outcomes behind the log: the ledger, then JetStream's
// acks, then the progress.
type flusher struct {
	t    *tenure
	acks acks
}

// run writes what is new to the ledger until ctx ends.
func (f *flusher) run(ctx context.Context) {
	t := f.t
	t.view.Run(ctx, func(ctx context.Context) (int, error) { return f.flush(ctx, false) },
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
func (f *flusher) flush(ctx context.Context, clean bool) (int, error) {
	t := f.t
	t.mu.Lock() // before the records are looked at: they are at least as new
	logSeq, floor, storedAt, done := t.acked, t.lanes.Floor().Value(), t.lanes.Floor().StoredAt(), t.lanes.Done()
	t.mu.Unlock()
	f.acks.ripen()
	records, err := t.view.Write(ctx)
	if err != nil {
		return records, err
	}
	f.ackAll(f.acks.written(clean))
	if f.acks.any() {
		t.view.Stir() // they go with the next flush
	}
	circuit, since, reason := t.p.r.gate.Status()
	next, refusals := t.p.r.gate.NextProbe(), t.p.r.gate.Refusals()
	return records, t.changeProgress(ctx, func(p *channels.Progress) {
		p.LogSeq, p.Floor, p.FloorTime, p.Done, p.Clean = logSeq, floor, storedAt, done, clean
		p.Circuit, p.Since, p.Reason = circuit, since.Unix(), reason
		p.Refusals, p.NextProbe = refusals, 0
		if !next.IsZero() {
			p.NextProbe = next.UnixMilli()
		}
	})
}

// last completes the ledger and marks the progress as clean. A record that
// somebody else touched, or an answer that got lost, must not leave the ledger
// behind until another worker comes: it is tried again.
func (f *flusher) last(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.t.p.r.drainLimit)
	defer cancel()
	for {
		_, err := f.flush(ctx, true)
		if err == nil || errors.Is(err, channels.ErrProgressChanged) {
			return err
		}
		f.t.log.Warn().Err(err).Msg("write the ledger before the hand-over")
		if !sleep.For(ctx, flushPause) {
			return err
		}
	}
}

// ackLast tells JetStream once more of the message that was settled last. Plain acks sent
// just before a consumer is deleted are mostly lost; this one is answered after they were
// handled.
func (f *flusher) ackLast(ctx context.Context) {
	last := f.acks.newest()
	if last == nil {
		return
	}
	if err := last.DoubleAck(ctx); err != nil {
		f.t.log.Debug().Err(err).Msg("final ack; the next owner settles again by the ledger")
	}
}

// ackAll tells JetStream of settled messages. What is lost comes again and is recognised.
func (f *flusher) ackAll(replies map[uint64]string) {
	for _, reply := range replies {
		if err := f.t.b.js.Conn().Publish(reply, ackBody); err != nil {
			f.t.log.Debug().Err(err).Msg("ack")
			return
		}
	}
}

// ackBody is what JetStream takes for an ack.
var ackBody = []byte("+ACK") //nolint:gochecknoglobals // a constant

// unackedMost bounds the messages of a work queue that are settled and wait for the
// ledger; then it is written at once.
const unackedMost = 16 << 10

// acks are the messages of a work queue that are settled, and of which JetStream is told
// once the ledger has had their outcomes for the time of a flush. Publishers guard a key
// against its newest message, else against the ledger, and must find it in one of the two,
// also if they have read the ledger a moment before it was written (docs/adr/0039).
type acks struct {
	mu      sync.Mutex
	waiting map[uint64]string // reply subjects by sequence
	ripe    map[uint64]string // whose outcomes go with the flush under way
	known   map[uint64]string // whose outcomes the ledger has
	last    jetstream.Msg
}

// add adds messages and reports whether the ledger is to be written at once.
func (a *acks) add(settled []lanes.Ack) (full bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = map[uint64]string{}
	}
	for _, s := range settled {
		a.waiting[s.Seq] = s.Msg.Reply()
		a.last = s.Msg
		full = full || len(a.waiting) == unackedMost // as many wait for the next flush
	}
	return full
}

// ripen says that a flush begins: it has the outcomes of all that waits.
func (a *acks) ripen() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ripe = merged(a.ripe, a.waiting)
	a.waiting = nil
}

// written says that the flush is done, and returns what JetStream is to be told of: what
// the one before had, or, of the last, all.
func (a *acks) written(last bool) (now map[uint64]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, a.known, a.ripe = a.known, a.ripe, nil
	if last {
		now, a.known = merged(now, a.known), nil
	}
	return now
}

// any reports whether something is to be told later.
func (a *acks) any() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waiting)+len(a.known) > 0
}

// merged returns both, in the memory of one of them. What came again is the copy to be
// acked.
func merged(older, newer map[uint64]string) map[uint64]string {
	if older == nil {
		return newer
	}
	maps.Copy(older, newer)
	return older
}

// newest returns the message that was settled last; nil if there is none.
func (a *acks) newest() jetstream.Msg {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// changeProgress changes and stores the partition's progress. channels.ErrProgressChanged
// means that another worker has the partition.
func (t *tenure) changeProgress(ctx context.Context, change func(*channels.Progress)) error {
	return t.progress.Change(ctx, func(p *channels.Progress) {
		change(p)
		p.Restored, p.Census = t.b.restored.Load(), t.census.now()
	})
}

// listKnown has the view list which of the partition's keys have records.
func (t *tenure) listKnown(ctx context.Context) {
	err := t.view.List(ctx)
	if err != nil && ctx.Err() == nil {
		t.log.Info().Err(err).Msg("the ledger's keys are not listed: each new key's record is looked for")
	}
}
