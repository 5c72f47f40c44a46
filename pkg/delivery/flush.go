package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// flushEvery is by how much the ledger lags behind the log at most, while
	// the broker answers and updates come as usual. After a flush of more than
	// flushMany records it is flushBusy, unless no more outcomes come: of a key that
	// changes often one record in that time is enough (docs/adr/0022).
	flushEvery = 500 * time.Millisecond
	flushBusy  = 3 * time.Second
	flushMany  = 1024
	// flushRest is how long a partition rests that nothing is told. Whatever
	// changes its progress wakes it, so that is for what nobody thought of.
	flushRest = time.Minute
	// flushMost is how far apart tries to write it are while that fails.
	flushMost = 5 * time.Second
	// writePatience bounds the wait for the broker to confirm what it was sent: an
	// answer that was lost without the connection never comes.
	writePatience = 10 * time.Second
	// flushAtOnce bounds the records that are written side by side.
	flushAtOnce = 1024
)

// flushLoop writes what is new to the ledger until ctx ends.
func (t *tenure) flushLoop(ctx context.Context) {
	failing := false
	for wait := flushEvery; t.awaitFlush(ctx, wait, !failing); {
		waiting := t.takeFlushWaiters()
		written, err := t.flush(ctx, false)
		for _, done := range waiting {
			done(err)
		}
		switch failing = err != nil; {
		case err == nil && written > flushMany:
			wait = flushBusy
		case err == nil:
			wait = flushEvery
		case errors.Is(err, channels.ErrProgressChanged):
			t.fail(err)
			return
		case ctx.Err() == nil:
			// What cannot be written stays in memory: no more may come.
			wait = min(2*wait, flushMost)
			t.p.r.gate.hold(2 * wait)
			t.log.Warn().Err(err).Msg("write the ledger; outcomes are safe in the log, and the channel waits")
		}
	}
}

// awaitFlush waits until it is time for the next flush: most has passed or, if
// sooner, no more outcomes come, too much is ahead of the bucket or somebody asks
// for one.
func (t *tenure) awaitFlush(ctx context.Context, most time.Duration, sooner bool) bool {
	if sooner && !t.awaitNews(ctx) {
		return false
	}
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	_, before := t.flushState()
	for waited := time.Duration(0); waited < most; {
		if now, _ := t.flushState(); now && sooner {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.wakeFlush:
		case <-ticker.C:
			waited += flushEvery
			_, added := t.flushState()
			if added == before && sooner {
				return true
			}
			before = added
		}
	}
	return true
}

// awaitNews waits until there is something to write, and for flushRest at most.
// Many partitions have nothing to do most of the time.
func (t *tenure) awaitNews(ctx context.Context) bool {
	t.mu.Lock()
	t.resting = t.view.added == 0 && t.view.dirty == 0 && len(t.flushWaiters) == 0
	resting := t.resting
	t.mu.Unlock()
	if !resting {
		return true
	}
	timer := time.NewTimer(flushRest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-t.wakeFlush:
	}
	return true
}

// endRest lets the ledger be written soon. The caller holds mu.
func (t *tenure) endRest() {
	if t.resting {
		t.resting = false
		signal(t.wakeFlush)
	}
}

// flushState says whether a flush cannot wait, and how many outcomes there were
// since the last one.
func (t *tenure) flushState() (now bool, added int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.view.full() || len(t.flushWaiters) > 0, t.view.added
}

// flushSoon has the ledger brought up to what is in the log now, and calls done
// when it is, or could not be.
func (t *tenure) flushSoon(done func(error)) {
	t.mu.Lock()
	t.flushWaiters = append(t.flushWaiters, done)
	t.mu.Unlock()
	signal(t.wakeFlush)
}

func (t *tenure) takeFlushWaiters() []func(error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := t.flushWaiters
	t.flushWaiters = nil
	return waiting
}

// flush writes every record that is ahead of the bucket, then the progress that
// they add up to. It returns how many records there were.
func (t *tenure) flush(ctx context.Context, clean bool) (int, error) {
	t.mu.Lock()
	logSeq, floor, done := t.ackedSeq, t.floor.value(), uint64(max(0, t.received-t.inHand)) //nolint:gosec // not negative
	var dirty []string
	for key, s := range t.view.keys {
		if s.dirty {
			dirty = append(dirty, key)
		}
	}
	t.view.added = 0
	t.mu.Unlock()
	if err := t.writeRecords(ctx, dirty); err != nil {
		return len(dirty), err
	}
	circuit, since, reason := t.p.r.gate.status()
	return len(dirty), t.writeProgress(ctx, func(p *channels.Progress) {
		p.LogSeq, p.Floor, p.Done, p.Clean = logSeq, floor, done, clean
		p.Circuit, p.Since, p.Reason = circuit, since.Unix(), reason
	})
}

// A write is a record on its way to the broker.
type write struct {
	key    string
	future jetstream.PubAckFuture
}

// writeRecords writes records, each by compare-and-set, flushAtOnce of them on
// their way at a time. It returns when none is any more: progress may only be
// written after that.
func (t *tenure) writeRecords(ctx context.Context, keys []string) error {
	// The connection can be there and an answer lost all the same.
	ctx, cancel := context.WithTimeout(ctx, writePatience+time.Duration(len(keys))*time.Millisecond)
	defer cancel()
	var failed error
	var under []write
	for len(keys) > 0 && failed == nil || len(under) > 0 {
		if len(keys) > 0 && failed == nil && len(under) < flushAtOnce {
			key := keys[0]
			keys = keys[1:]
			future, err := t.startWrite(key)
			if err != nil {
				t.endWrite(key, err)
				failed = err
				continue
			}
			under = append(under, write{key, future})
			continue
		}
		w := under[0]
		under = under[1:]
		err := t.awaitWrite(ctx, w.key, w.future)
		t.endWrite(w.key, err)
		if failed == nil {
			failed = err
		}
	}
	if failed != nil {
		return fmt.Errorf("write the ledger: %w", failed)
	}
	return nil
}

// startWrite sends a record as it is now, and keeps it in memory until endWrite.
func (t *tenure) startWrite(key string) (jetstream.PubAckFuture, error) {
	t.mu.Lock()
	s := t.view.keys[key]
	encoded, err := s.rec.Append(t.record[:0])
	t.record = encoded
	data := bytes.Clone(encoded) // kept until the broker has answered
	revision := s.revision
	if t.view.setDirty(s, false); len(t.pending) > 0 {
		signal(t.wakeCommit)
	}
	t.view.pin(key)
	t.mu.Unlock()
	if err != nil {
		return nil, err
	}
	names := t.b.names
	msg := nats.NewMsg(events.KVSubject(names.LedgerBucket(), names.LedgerKey(t.p.r.entry.Config.Name, key)))
	msg.Data = data
	return t.b.js.PublishMsgAsync(msg, jetstream.WithExpectLastSequencePerSubject(revision), jetstream.WithStallWait(5*time.Second))
}

// awaitWrite waits for the broker's answer and keeps the new revision. On a
// conflict the record with the higher log sequence stays.
func (t *tenure) awaitWrite(ctx context.Context, key string, future jetstream.PubAckFuture) error {
	select {
	case ack := <-future.Ok():
		t.mu.Lock()
		defer t.mu.Unlock()
		t.view.keys[key].revision = ack.Sequence
		return nil
	case err := <-future.Err():
		if !events.IsWrongSequence(err) {
			return err
		}
		return t.resolve(ctx, key)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// resolve reads a record that somebody else has written, or that we have written
// without hearing of it.
func (t *tenure) resolve(ctx context.Context, key string) error {
	rec, revision, err := t.b.ledger.GetEncoded(ctx, t.p.r.entry.Config.Name, key)
	if err != nil && !errors.Is(err, events.ErrNoRecord) {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.view.keys[key]
	s.revision = revision
	if rec.Seq >= s.rec.Seq {
		s.rec, s.base = rec, rec.Seq
		return nil
	}
	return errors.New("a record was changed meanwhile; it is written again") // ours is newer
}

// endWrite follows startWrite: a record that the broker does not have goes out
// with the next flush.
func (t *tenure) endWrite(key string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.view.setDirty(t.view.keys[key], true)
	}
	t.view.unpin(key)
}
