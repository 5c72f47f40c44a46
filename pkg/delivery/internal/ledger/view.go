package ledger

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

const (
	// A view that has dirtyMost records ahead of the bucket, or its share of
	// dirtyBytes, writes them at once, and at a quarter more it is Overfull: their
	// memory has a bound.
	dirtyMost  = 12 << 10
	dirtyBytes = 12 << 20 // all views together
	dirtyLeast = 64 << 10 // that a view may always have
	// recordsMost is how many records a worker remembers, of all views together,
	// before it forgets what nobody uses and the bucket has: packed, at most about
	// 1 KiB each. If it is below dirtyMost, what is to change again was forgotten.
	recordsMost = dirtyMost
	// loadAtOnce bounds the reads that are under way side by side.
	loadAtOnce = 16
)

// Shared is what the views of one worker share. The zero value is ready.
type Shared struct {
	records  atomic.Int64 // remembered beyond their use
	outcomes atomic.Int64 // applied so far
	views    atomic.Int64 // not closed
}

// Options say which records a view has, and where they lie.
type Options struct {
	JS      jetstream.JetStream
	Names   events.Names
	Ledger  *wire.Ledger
	Channel string
	// ID is the channel's. Records with another one are none.
	ID string
	// Content is that of the channel's configuration.
	Content wire.ContentID
	// Records is the filter of the partition's records in the ledger.
	Records string
	Shared  *Shared
	// Share is how much of the ledger the partition may take, in bytes; 0: all.
	Share int64
	// LogEnd returns the end of the outcome log; nil: it is not known. A record from
	// behind it keeps what it says of the target, and loses its place.
	LogEnd func() wire.LogPosition
	// Broken is told that the view cannot be used any more. It must not call the
	// view.
	Broken func(error)
}

// A View is the ledger's records of a partition as the outcome log makes them. Its
// methods may be called concurrently.
type View struct {
	o    Options
	wake chan struct{} // whoever waits in Run looks again
	turn chan struct{} // holds something while records are on their way
	room chan struct{} // what was Overfull may no longer be

	mu      sync.Mutex
	keys    map[string]*Key
	idle    *list.List // of *Key: what nobody uses, last used last
	dirty   int        // of keys: those that are ahead of the bucket
	size    int        // of those, roughly, in bytes
	fresh   int        // of size: what those will take in the bucket that it does not have yet
	added   int        // outcomes since the last write began
	crowded bool       // somebody waits for room
	resting bool       // Run waits for something to write
	stirred bool       // what goes with the records has changed since the last write began
	asking  []func(error)
	// Memory for records in use, and to pack them.
	spares []*wire.Record
	buffer []byte
	closed bool
	// written are the keys that this view writes, listed those that were in the
	// ledger before; nil: not known. See known.
	written, listed *known
	kept            kept // of the stock
	exhausted       atomic.Bool
}

// New returns a view that has read nothing yet. Close it.
func New(o Options) *View {
	o.Shared.views.Add(1)
	return &View{
		o: o, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), room: make(chan struct{}, 1),
		keys: map[string]*Key{}, idle: list.New(), written: newKnown(),
	}
}

// Close forgets everything. What is pinned may still be unpinned. It may be called
// again.
func (v *View) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	v.closed = true
	v.o.Shared.views.Add(-1)
	for v.idle.Len() > 0 {
		v.forget(v.idle.Front().Value.(*Key)) //nolint:forcetypeassert // the list holds nothing else
	}
	for _, k := range v.keys {
		v.setDirty(k, false)
	}
}

// Pin keeps what is known of a key in memory until Unpin.
func (v *View) Pin(encoded string) *Key {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := v.keys[encoded]
	if k == nil {
		k = &Key{encoded: encoded}
		v.keys[encoded] = k
	}
	v.hold(k)
	return k
}

// Hold pins a key that is pinned once more.
func (v *View) Hold(k *Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hold(k)
}

func (v *View) hold(k *Key) {
	k.pins++
	if k.idle != nil {
		v.revive(k)
	}
}

// Unpin takes one Pin or Hold back.
func (v *View) Unpin(k *Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.unpin(k)
}

func (v *View) unpin(k *Key) {
	k.pins--
	if k.pins == 0 && k.loaded {
		v.pack(k)
	}
	v.evict(k)
}

// evict lets a record go that nobody uses and the bucket has; as many as there is
// room for are remembered, those that were used last.
func (v *View) evict(k *Key) {
	if k.pins > 0 || k.dirty {
		return
	}
	if !k.loaded || v.closed {
		delete(v.keys, k.encoded)
		return
	}
	k.idle = v.idle.PushBack(k)
	v.count(1)
}

// count changes how many records the worker remembers, and forgets one of this
// view's if they are too many.
func (v *View) count(n int64) {
	if v.o.Shared.records.Add(n) > recordsMost && n > 0 && v.idle.Len() > 0 {
		v.forget(v.idle.Front().Value.(*Key)) //nolint:forcetypeassert // the list holds nothing else
	}
}

func (v *View) revive(k *Key) {
	v.idle.Remove(k.idle)
	k.idle = nil
	v.count(-1)
}

func (v *View) forget(k *Key) {
	v.revive(k)
	delete(v.keys, k.encoded)
}

// Read calls look with the record of a pinned key; an empty one where none is
// loaded. look must not keep, change or block: the view is locked.
func (v *View) Read(k *Key, look func(rec *wire.Record)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	look(v.record(k))
}

// A Group is one record of the outcome log while it is applied.
type Group struct {
	v  *View
	at wire.LogPosition
}

// Group calls apply, which applies all entries of one record of the log, at its place
// there. Nothing is written to the ledger in between: a record of the ledger says by its
// place that it has all of a group, or nothing. apply must not block or call the view.
func (v *View) Group(at wire.LogPosition, apply func(g Group)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	apply(Group{v, at})
}

// Record returns the record of a pinned key, to look at within the group only.
func (g Group) Record(k *Key) *wire.Record { return g.v.record(k) }

// Apply brings the record of a pinned, loaded key up to an entry. It returns the
// version that the target held before.
func (g Group) Apply(k *Key, e *wire.Entry) (before versioning.Version) {
	v, at := g.v, g.at
	rec := v.record(k)
	before = rec.Applied.Version
	if !HasPlace(e) {
		return before
	}
	if !k.base.Before(at) {
		return before // the bucket was ahead already
	}
	rec.Add(*e, at)
	v.stands(k, rec)
	v.added, v.stirred = v.added+1, true
	v.o.Shared.outcomes.Add(1)
	v.stir()
	if !k.dirty {
		if k.unwritten {
			v.written.addNew(k.encoded)
		} else {
			v.written.add(k.encoded)
		}
		k.unwritten = false
	}
	v.setDirty(k, true)
	return before
}

// setDirty notes whether a record is ahead of the bucket.
func (v *View) setDirty(k *Key, dirty bool) {
	was := k.dirty
	if was {
		v.dirty--
		v.size -= k.size
		v.fresh -= k.fresh
		k.fresh = 0
	}
	switch k.dirty = dirty; {
	case dirty && !was:
		v.count(1)
	case was && !dirty:
		v.count(-1)
	}
	if !dirty {
		v.measure()
		return
	}
	k.size = k.bytes()
	v.dirty++
	v.size += k.size
	if k.revision == 0 {
		k.fresh = v.expect(v.record(k))
		v.fresh += k.fresh
		v.measure()
	}
	if v.full() {
		signal(v.wake)
	}
}

// Full reports whether the view has as many records ahead of the bucket as it should
// have.
func (v *View) Full() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.full()
}

func (v *View) full() bool { return v.dirty >= dirtyMost || v.size >= v.share() }

// Overfull reports whether the view has a quarter more records ahead of the bucket
// than it should have. Then nothing is to be added until Room says so.
func (v *View) Overfull() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.crowded = v.dirty >= dirtyMost*5/4 || v.size >= v.share()*5/4
	return v.crowded
}

// Room delivers after Overfull has reported true and records are on their way to
// the bucket. It may deliver once too often.
func (v *View) Room() <-chan struct{} { return v.room }

func (v *View) share() int {
	return max(dirtyLeast, dirtyBytes/max(1, int(v.o.Shared.views.Load())))
}

// Load reads the records that are not in memory yet, from the ledger's leader. The
// keys are pinned.
func (v *View) Load(ctx context.Context, keys []*Key) error {
	missing := v.missing(keys)
	if len(missing) == 0 {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loadAtOnce)
	for _, k := range missing {
		group.Go(func() error {
			s, err := v.o.Ledger.GetOf(ctx, v.o.Channel, v.o.ID, k.encoded)
			if err != nil && !errors.Is(err, events.ErrNoRecord) {
				return err
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			if !k.loaded {
				k.revision, k.weight = s.Revision, v.weigh(&s.Record, k.encoded, s.Size)
				v.place(&s.Record)
				*v.record(k) = s.Record
				k.base, k.loaded, k.standing = s.LogPosition, true, k.weight.standing
			}
			return nil
		})
	}
	return group.Wait()
}

// place takes a record's place away that the log does not reach: it was in a log that
// the broker no longer has.
func (v *View) place(rec *wire.Record) {
	if v.o.LogEnd != nil && v.o.LogEnd().Before(rec.LogPosition) {
		rec.LogPosition = wire.LogPosition{}
	}
}

// missing returns those whose records are to be read.
func (v *View) missing(keys []*Key) []*Key {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []*Key
	for _, k := range keys {
		if k.loaded {
			continue
		}
		if k.loaded = v.isNew(k.encoded); !k.loaded {
			out = append(out, k)
		}
		k.unwritten = k.loaded
	}
	return out
}

// isNew reports whether the ledger surely has no record of a key.
func (v *View) isNew(encoded string) bool {
	return v.listed != nil && !v.listed.mayHave(encoded) && !v.written.mayHave(encoded)
}

// HasPlace reports whether an entry changes a record. A malformed update has no
// version, and perhaps no key.
func HasPlace(e *wire.Entry) bool {
	return !e.Version.IsZero() || e.Outcome == wire.Reset || e.Outcome == wire.RefsSet
}

// signal wakes who waits on ch; a signal that is already there is enough.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
