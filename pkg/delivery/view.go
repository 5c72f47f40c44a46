package delivery

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

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
	// flushMost is how far apart tries to write it are while that fails.
	flushMost = 5 * time.Second
	// writePatience bounds the wait for the broker to confirm what it was sent: an
	// answer that was lost without the connection never comes.
	writePatience = 10 * time.Second
	// flushAtOnce bounds the records that are written side by side.
	flushAtOnce = 1024
	// A partition that has flushAbove records ahead of the bucket, or its share of
	// dirtyBytes, writes them at once, and at half as many again commits wait for that:
	// their memory has a bound.
	flushAbove    = 12 << 10
	dirtyBytes    = 24 << 20 // all partitions together
	dirtyLeast    = 64 << 10 // that a partition may always have
	recordBytes   = 512      // of a record in memory without its settlements, roughly
	settlingBytes = 224      // of each of them
	// recordsMost is how many records a worker remembers, of all partitions
	// together, before it forgets what nobody uses and the bucket has: at most about
	// 2 KiB each. If it is below flushAbove, what is to change again was forgotten.
	recordsMost = flushAbove
	// loadAtOnce bounds the reads that are under way side by side.
	loadAtOnce = 16
)

// A view is the ledger's records of a partition as the log makes them: ahead of
// the bucket, and written to it behind. The tenure's mu guards it.
type view struct {
	t     *tenure
	keys  map[string]*keyState
	idle  *list.List // of *keyState: what nobody uses, last used last
	dirty int        // of keys: those that are ahead of the bucket
	size  int        // of those, roughly, in bytes
	added int        // outcomes since the last flush began
	// dropped: the tenure is over.
	dropped bool

	// written are the keys that this tenure writes, listed those that were in the
	// ledger before; nil: not known. See known.
	written, listed *known
}

type keyState struct {
	key      string
	rec      events.Record
	revision uint64 // in the bucket; 0: not there
	loaded   bool
	base     uint64 // log sequence of the record that was loaded
	dirty    bool
	size     int // with which it counts, while it is dirty
	pins     int // lanes that use it
	// idle is its place among those that nobody uses, nil if somebody does.
	idle *list.Element
}

func newView(t *tenure) *view {
	return &view{t: t, keys: map[string]*keyState{}, idle: list.New(), written: newKnown()}
}

// isNew reports whether the ledger surely has no record of a key. The caller
// holds mu.
func (v *view) isNew(key string) bool {
	return v.listed != nil && !v.listed.mayHave(key) && !v.written.mayHave(key)
}

func (v *view) state(key string) *keyState {
	s := v.keys[key]
	if s == nil {
		s = &keyState{key: key}
		v.keys[key] = s
	}
	return s
}

// pin keeps a key's record in memory. The caller holds mu.
func (v *view) pin(key string) {
	s := v.state(key)
	s.pins++
	if s.idle != nil {
		v.wake(s)
	}
}

// unpin lets it go, unless it has not been written yet. The caller holds mu.
func (v *view) unpin(key string) {
	s := v.keys[key]
	s.pins--
	v.evict(s)
}

// evict lets a record go that nobody uses; as many as there is room for are
// remembered, those that were used last.
func (v *view) evict(s *keyState) {
	if s.pins > 0 || s.dirty {
		return
	}
	if !s.loaded || v.dropped {
		delete(v.keys, s.key)
		return
	}
	s.idle = v.idle.PushBack(s)
	v.count(1)
}

// count changes how many records the worker remembers, and forgets one of this
// partition's if they are too many.
func (v *view) count(n int64) {
	if v.t.b.records.Add(n) > recordsMost && n > 0 && v.idle.Len() > 0 {
		v.forget(v.idle.Front().Value.(*keyState)) //nolint:forcetypeassert // the list holds nothing else
	}
}

func (v *view) wake(s *keyState) {
	v.idle.Remove(s.idle)
	s.idle = nil
	v.count(-1)
}

func (v *view) forget(s *keyState) {
	v.wake(s)
	delete(v.keys, s.key)
}

// drop forgets everything at the end of a tenure. The caller holds mu.
func (v *view) drop() {
	v.dropped = true
	for v.idle.Len() > 0 {
		v.forget(v.idle.Front().Value.(*keyState)) //nolint:forcetypeassert // the list holds nothing else
	}
	for _, s := range v.keys {
		v.setDirty(s, false)
	}
}

// record returns a loaded record. The caller holds mu.
func (v *view) record(key string) *events.Record { return &v.keys[key].rec }

// add brings a loaded record up to an entry of the log. The caller holds mu.
func (v *view) add(key string, e *events.Entry, seq uint64) {
	if !inLedger(e) {
		return
	}
	s := v.state(key)
	if seq <= s.base {
		return // the bucket was ahead already
	}
	s.rec.Add(*e, seq)
	v.added++
	if !s.dirty {
		v.written.add(key)
	}
	v.setDirty(s, true)
}

// setDirty notes whether a record is ahead of the bucket. The caller holds mu.
func (v *view) setDirty(s *keyState, dirty bool) {
	was := s.dirty
	if was {
		v.dirty--
		v.size -= s.size
	}
	switch s.dirty = dirty; {
	case dirty && !was:
		v.count(1)
	case was && !dirty:
		v.count(-1)
	}
	if !dirty {
		return
	}
	s.size = recordBytes + settlingBytes*len(s.rec.Recent)
	v.dirty++
	v.size += s.size
	if v.full() {
		signal(v.t.wakeFlush)
	}
}

// full reports whether a partition has as many records ahead of the bucket as it
// should have. The caller holds mu.
func (v *view) full() bool { return v.dirty >= flushAbove || v.size >= v.share() }

// overfull reports whether it has half as many again. The caller holds mu.
func (v *view) overfull() bool { return v.dirty >= flushAbove*3/2 || v.size >= v.share()*3/2 }

func (v *view) share() int {
	return max(dirtyLeast, dirtyBytes/max(1, int(v.t.b.tenures.Load())))
}

// load reads the records that are not in memory yet, from the ledger's leader.
func (v *view) load(ctx context.Context, keys []string) error {
	missing := v.missing(keys)
	if len(missing) == 0 {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loadAtOnce)
	for _, key := range missing {
		group.Go(func() error {
			rec, revision, err := v.t.b.ledger.GetEncoded(ctx, v.t.p.r.entry.Config.Name, key)
			if err != nil && !errors.Is(err, events.ErrNoRecord) {
				return err
			}
			v.t.mu.Lock()
			defer v.t.mu.Unlock()
			if s := v.state(key); !s.loaded {
				s.rec, s.revision, s.base, s.loaded = rec, revision, rec.Seq, true
			}
			return nil
		})
	}
	return group.Wait()
}

// missing returns those of keys whose records are to be read.
func (v *view) missing(keys []string) []string {
	v.t.mu.Lock()
	defer v.t.mu.Unlock()
	var out []string
	for _, key := range keys {
		s := v.keys[key]
		if (s == nil || !s.loaded) && v.isNew(key) {
			s = v.state(key)
			s.loaded = true
		}
		if s == nil || !s.loaded {
			out = append(out, key)
		}
	}
	return out
}

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

// inLedger reports whether an entry changes a record. A malformed update has no
// version, and perhaps no key.
func inLedger(e *events.Entry) bool { return !e.Version.IsZero() || e.Outcome == events.Reset }

// encodedKey returns the ledger's key of an entry; "" if it has no place there.
func encodedKey(e *events.Entry) string {
	if !inLedger(e) {
		return ""
	}
	enc, err := events.EncodeKey(e.Key)
	if err != nil {
		return ""
	}
	return enc
}

func encodedKeys(entries []events.Entry) []string {
	keys := make([]string, 0, len(entries))
	for i := range entries {
		if key := encodedKey(&entries[i]); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}
