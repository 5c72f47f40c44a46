package delivery

import (
	"container/list"
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// A partition that has flushAbove records ahead of the bucket, or its share of
	// dirtyBytes, writes them at once, and at a quarter more commits wait for that:
	// their memory has a bound.
	flushAbove = 12 << 10
	dirtyBytes = 12 << 20 // all partitions together
	dirtyLeast = 64 << 10 // that a partition may always have
	// recordsMost is how many records a worker remembers, of all partitions
	// together, before it forgets what nobody uses and the bucket has: packed, at most
	// about 1 KiB each. If it is below flushAbove, what is to change again was
	// forgotten.
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
	// Memory for records in use, and to pack them.
	spares []*events.Record
	buffer []byte
	// dropped: the tenure is over.
	dropped bool

	// written are the keys that this tenure writes, listed those that were in the
	// ledger before; nil: not known. See known.
	written, listed *known
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

// pin keeps a key's record in memory until unpin. The caller holds mu.
func (v *view) pin(key string) *keyState {
	s := v.state(key)
	v.hold(s)
	return s
}

// hold is pin for a key whose state is in memory.
func (v *view) hold(s *keyState) {
	s.pins++
	if s.idle != nil {
		v.wake(s)
	}
}

// unpin lets it go, unless it has not been written yet. The caller holds mu.
func (v *view) unpin(s *keyState) {
	s.pins--
	if s.pins == 0 && s.loaded {
		v.pack(s)
	}
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

// add brings a loaded record up to an entry of the log. The caller holds mu.
func (v *view) add(s *keyState, e *events.Entry, at events.LogPosition) {
	if !inLedger(e) {
		return
	}
	if !s.base.Before(at) {
		return // the bucket was ahead already
	}
	v.record(s).Add(*e, at)
	v.added++
	v.t.b.outcomesAdded.Add(1)
	v.t.endRest()
	if !s.dirty {
		if s.unwritten {
			v.written.addNew(s.key)
		} else {
			v.written.add(s.key)
		}
		s.unwritten = false
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
	s.size = s.bytes()
	v.dirty++
	v.size += s.size
	if v.full() {
		signal(v.t.wakeFlush)
	}
}

// full reports whether a partition has as many records ahead of the bucket as it
// should have. The caller holds mu.
func (v *view) full() bool { return v.dirty >= flushAbove || v.size >= v.share() }

// overfull reports whether it has a quarter more. The caller holds mu.
func (v *view) overfull() bool { return v.dirty >= flushAbove*5/4 || v.size >= v.share()*5/4 }

func (v *view) share() int {
	return max(dirtyLeast, dirtyBytes/max(1, int(v.t.b.tenures.Load())))
}

// load reads the records that are not in memory yet, from the ledger's leader. The
// states are held by the caller.
func (v *view) load(ctx context.Context, states []*keyState) error {
	missing := v.missing(states)
	if len(missing) == 0 {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loadAtOnce)
	for _, s := range missing {
		group.Go(func() error {
			rec, revision, err := v.t.b.ledger.GetOf(ctx, v.t.p.r.entry.Config.Name, v.t.p.r.entry.ID, s.key)
			if err != nil && !errors.Is(err, events.ErrNoRecord) {
				return err
			}
			v.t.mu.Lock()
			defer v.t.mu.Unlock()
			if !s.loaded {
				v.t.placeRecord(&rec)
				*v.record(s) = rec
				s.revision, s.base, s.loaded = revision, rec.LogPosition, true
			}
			return nil
		})
	}
	return group.Wait()
}

// placeRecord takes a record's place away that the log does not reach: it was in a
// log that the broker no longer has. What the record says of the target holds.
func (t *tenure) placeRecord(rec *events.Record) {
	if t.at(t.logEnd.Load()).Before(rec.LogPosition) {
		rec.LogPosition = events.LogPosition{}
	}
}

// missing returns those whose records are to be read.
func (v *view) missing(states []*keyState) []*keyState {
	v.t.mu.Lock()
	defer v.t.mu.Unlock()
	var out []*keyState
	for _, s := range states {
		if s.loaded {
			continue
		}
		if s.loaded = v.isNew(s.key); !s.loaded {
			out = append(out, s)
		}
		s.unwritten = s.loaded
	}
	return out
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
