package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// writePatience bounds the wait for the broker to confirm what it was sent: an
	// answer that was lost without the connection never comes.
	writePatience = 10 * time.Second
	// writesAtOnce bounds the records that are on their way side by side, writeChunk those
	// that are encoded under one lock.
	writesAtOnce = 480
	writeChunk   = 32
)

// A writer writes records to the ledger, each by compare-and-set.
type writer struct {
	v      *View
	burst  *wire.Burst
	sent   []sent // by number
	under  int    // on their way
	buffer *[]byte
	chunk  []encoded
	record wire.Record // memory to unpack one
}

// An encoded record lies in the writer's buffer.
type encoded struct {
	key      *Key
	revision uint64
	end      int // in buffer
}

// A sent record is on its way.
type sent struct {
	key    *Key // nil once it is answered
	weight weight
	fresh  int // its bytes, if the bucket does not have the key yet
}

// Write writes every record that is ahead of the bucket, and returns how many there
// were. After an error some of them may still be ahead.
func (v *View) Write(ctx context.Context) (int, error) {
	keys := v.ahead()
	return len(keys), v.write(ctx, keys)
}

// ahead returns the keys whose records are ahead of the bucket.
func (v *View) ahead() []*Key {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.added = 0
	out := make([]*Key, 0, v.dirty)
	for _, k := range v.keys {
		if k.dirty {
			out = append(out, k)
		}
	}
	return out
}

// write writes records, writesAtOnce of them on their way at a time. It returns when
// none is any more: progress may only be written after that. What the broker does
// not have then is still ahead of the bucket.
func (v *View) write(ctx context.Context, keys []*Key) error {
	if len(keys) == 0 {
		return nil
	}
	// The connection can be there and an answer lost all the same.
	ctx, cancel := context.WithTimeout(ctx, writePatience+time.Duration(len(keys))*time.Millisecond)
	defer cancel()
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w, err := v.newWriter(min(len(keys), writesAtOnce))
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	defer w.close()
	for err == nil && len(keys) > 0 {
		n := min(writeChunk, len(keys), writesAtOnce-w.under)
		if n == 0 {
			err = w.await(ctx)
			continue
		}
		err = w.send(keys[:n])
		keys = keys[n:]
	}
	for w.under > 0 && !lost(ctx, err) {
		if failed := w.await(ctx); err == nil || lost(ctx, failed) {
			err = failed
		}
	}
	if err == nil && w.under > 0 { // ctx ended just after an answer
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}

// lost reports whether no more answers will come.
func lost(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, nats.ErrDisconnected)
}

// writeBuffers are the buffers of writers that are done: each partition makes a
// writer twice a second.
var writeBuffers = sync.Pool{New: func() any { return new([]byte) }} //nolint:gochecknoglobals // shared on purpose, and holds nothing

// newWriter returns a writer with up to most records on their way.
func (v *View) newWriter(most int) (*writer, error) {
	burst, err := wire.OpenBurst(v.o.JS.Conn(), most)
	if err != nil {
		return nil, err
	}
	return &writer{v: v, burst: burst, buffer: writeBuffers.Get().(*[]byte)}, nil
}

// close lets go of records that were not answered: they are ahead of the bucket, as
// far as we know.
func (w *writer) close() {
	w.burst.Close()
	for _, s := range w.sent {
		if s.key != nil {
			w.v.endWrite(s, 0)
		}
	}
	writeBuffers.Put(w.buffer)
}

// send encodes records as they are now, and keeps them in memory until they are
// answered.
func (w *writer) send(keys []*Key) error {
	if err := w.encode(keys); err != nil {
		return err
	}
	expected := []string{""}
	msg := &nats.Msg{Header: nats.Header{nats.ExpectedLastSubjSeqHdr: expected}}
	from := 0
	for i := range w.chunk {
		e := &w.chunk[i]
		msg.Subject = wire.LedgerSubject(w.v.o.Names, w.v.o.Channel, e.key.encoded)
		msg.Data = (*w.buffer)[from:e.end]
		expected[0] = strconv.FormatUint(e.revision, 10)
		if _, err := w.burst.Send(msg); err != nil {
			return err
		}
		w.under++
		from = e.end
	}
	return nil
}

// encode takes the records of a chunk off those that are ahead of the bucket.
func (w *writer) encode(keys []*Key) error {
	buffer := (*w.buffer)[:0]
	defer func() { *w.buffer = buffer }()
	w.chunk = w.chunk[:0]
	v := w.v
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range keys {
		rec, err := k.rec, error(nil)
		if rec == nil {
			rec, err = &w.record, unpack(k.encoded, k.packed, &w.record)
		}
		from := len(buffer)
		if err == nil {
			rec.ChannelID = v.o.ID
			buffer, err = rec.Append(buffer)
		}
		if err != nil {
			return err
		}
		s := sent{key: k, weight: v.weigh(rec, k.encoded, len(buffer)-from)}
		if k.revision == 0 {
			s.fresh = int(s.weight.bytes)
			v.fresh += s.fresh // before setDirty lets go of it: it never seems to be less
		}
		v.setDirty(k, false)
		v.hold(k)
		v.kept.tally.leave(k.revision)
		w.sent = append(w.sent, s) // in the order in which they are sent
		w.chunk = append(w.chunk, encoded{key: k, revision: k.revision, end: len(buffer)})
	}
	if v.crowded {
		signal(v.room)
	}
	return nil
}

// await takes the answers that are there, at least one.
func (w *writer) await(ctx context.Context) error {
	answer, err := w.burst.Next(ctx)
	if err != nil {
		return err
	}
	var failed error
	for more := true; more; answer, more = w.burst.Waiting() {
		if err := w.answered(ctx, answer); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// answered notes what became of a record. On a conflict the one with the higher log
// sequence stays.
func (w *writer) answered(ctx context.Context, a wire.Answer) error {
	s := w.sent[a.Number]
	if s.key == nil { // answered before
		return nil
	}
	w.sent[a.Number].key = nil
	w.under--
	revision, _, err := a.Stored()
	if wire.IsWrongSequence(err) {
		s.weight, revision, err = w.v.resolve(ctx, s.key)
	}
	w.v.endWrite(s, revision)
	return err
}

// resolve reads a record that somebody else has written, or that we have written
// without hearing of it. It returns its weight, and its revision if that one stays.
func (v *View) resolve(ctx context.Context, k *Key) (weight, uint64, error) {
	s, err := v.o.Ledger.GetOf(ctx, v.o.Channel, v.o.ID, k.encoded)
	if err != nil && !errors.Is(err, events.ErrNoRecord) {
		return weight{}, 0, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	found := v.weigh(&s.Record, k.encoded, s.Size)
	v.kept.tally.spoil()
	if ours := v.record(k); !s.Before(ours.LogPosition) {
		*ours, k.base = s.Record, s.LogPosition
		v.stands(k, ours)
		return found, s.Revision, nil
	}
	v.replaced(k, s.Revision, found)
	return found, 0, errors.New("a record was changed meanwhile; it is written again") // ours is newer
}

// endWrite lets go of a record that was sent, with its new revision. One that the
// broker does not have (0) goes out with the next write.
func (v *View) endWrite(s sent, revision uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fresh -= s.fresh
	if revision == 0 {
		v.setDirty(s.key, true)
		v.kept.tally.spoil()
	} else {
		v.replaced(s.key, revision, s.weight)
	}
	v.unpin(s.key)
}
