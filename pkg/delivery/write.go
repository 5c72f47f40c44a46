package delivery

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// writePatience bounds the wait for the broker to confirm what it was sent: an
	// answer that was lost without the connection never comes.
	writePatience = 10 * time.Second
	// writesAtOnce bounds the records that are on their way side by side, by less than
	// the 512 subjects whose listeners the broker remembers, see ReuseReplies. writeChunk
	// bounds those that are encoded under one lock.
	writesAtOnce = 480
	writeChunk   = 32
)

// A writer writes records to the ledger, each by compare-and-set.
type writer struct {
	t      *tenure
	burst  *events.Burst
	sent   []*keyState // by number; nil once it is answered
	under  int         // on their way
	buffer *[]byte
	chunk  []encoded
	record events.Record // memory to unpack one
}

// An encoded record lies in the writer's buffer.
type encoded struct {
	state    *keyState
	revision uint64
	end      int // in buffer
}

// writeRecords writes records, writesAtOnce of them on their way at a time. It
// returns when none is any more: progress may only be written after that. What the
// broker does not have then is still ahead of the bucket.
func (t *tenure) writeRecords(ctx context.Context, states []*keyState) error {
	if len(states) == 0 {
		return nil
	}
	// The connection can be there and an answer lost all the same.
	ctx, cancel := context.WithTimeout(ctx, writePatience+time.Duration(len(states))*time.Millisecond)
	defer cancel()
	w, err := t.newWriter(min(len(states), writesAtOnce))
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	defer w.close()
	for err == nil && len(states) > 0 {
		n := min(writeChunk, len(states), writesAtOnce-w.under)
		if n == 0 {
			err = w.await(ctx)
			continue
		}
		err = w.send(states[:n])
		states = states[n:]
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
func (t *tenure) newWriter(most int) (*writer, error) {
	burst, err := events.OpenBurst(t.b.js.Conn(), most)
	if err != nil {
		return nil, err
	}
	if t.b.ledgerAlone {
		burst.ReuseReplies()
	}
	return &writer{t: t, burst: burst, buffer: writeBuffers.Get().(*[]byte)}, nil
}

// close lets go of records that were not answered: they are ahead of the bucket, as
// far as we know.
func (w *writer) close() {
	w.burst.Close()
	for _, s := range w.sent {
		if s != nil {
			w.t.endWrite(s, 0)
		}
	}
	writeBuffers.Put(w.buffer)
}

// send encodes records as they are now, and keeps them in memory until they are
// answered.
func (w *writer) send(states []*keyState) error {
	if err := w.encode(states); err != nil {
		return err
	}
	prefix := w.t.b.names.LedgerSubject(w.t.p.r.entry.Config.Name, "")
	expected := []string{""}
	msg := &nats.Msg{Header: nats.Header{nats.ExpectedLastSubjSeqHdr: expected}}
	from := 0
	for i := range w.chunk {
		e := &w.chunk[i]
		msg.Subject = prefix + e.state.key
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
func (w *writer) encode(states []*keyState) error {
	buffer := (*w.buffer)[:0]
	defer func() { *w.buffer = buffer }()
	w.chunk = w.chunk[:0]
	t := w.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range states {
		rec, err := s.rec, error(nil)
		if rec == nil {
			rec, err = &w.record, unpack(s.key, s.packed, &w.record)
		}
		if err == nil {
			rec.ChannelID = t.p.r.entry.ID
			buffer, err = rec.Append(buffer)
		}
		if err != nil {
			return err
		}
		t.view.setDirty(s, false)
		t.view.hold(s)
		w.sent = append(w.sent, s) // in the order in which they are sent
		w.chunk = append(w.chunk, encoded{state: s, revision: s.revision, end: len(buffer)})
	}
	if len(t.pending) > 0 {
		signal(t.wakeCommit)
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
func (w *writer) answered(ctx context.Context, a events.Answer) error {
	s := w.sent[a.Number]
	if s == nil { // answered before
		return nil
	}
	w.sent[a.Number] = nil
	w.under--
	revision, _, err := a.Stored()
	if events.IsWrongSequence(err) {
		revision, err = w.t.resolve(ctx, s)
	}
	w.t.endWrite(s, revision)
	return err
}

// resolve reads a record that somebody else has written, or that we have written
// without hearing of it. It returns the revision if that one stays.
func (t *tenure) resolve(ctx context.Context, s *keyState) (uint64, error) {
	rec, revision, err := t.b.ledger.GetOf(ctx, t.p.r.entry.Config.Name, t.p.r.entry.ID, s.key)
	if err != nil && !errors.Is(err, events.ErrNoRecord) {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.revision = revision
	if ours := t.view.record(s); !rec.Before(ours.LogPosition) {
		*ours, s.base = rec, rec.LogPosition
		return revision, nil
	}
	return 0, errors.New("a record was changed meanwhile; it is written again") // ours is newer
}

// endWrite lets go of a record that was sent, with its new revision. One that the
// broker does not have (0) goes out with the next flush.
func (t *tenure) endWrite(s *keyState, revision uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if revision == 0 {
		t.view.setDirty(s, true)
	} else {
		s.revision = revision
	}
	t.view.unpin(s)
}
