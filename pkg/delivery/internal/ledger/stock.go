package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/why"
)

const (
	// countBatch records are read, then countPause passes: some thousand a second, so that a
	// takeover after a crash costs neither broker nor worker what its updates need.
	countBatch = 64
	countPause = 10 * time.Millisecond
)

// A Stock is what a partition has in the ledger.
type Stock struct {
	Keys     int64 // with a record
	Outdated int64 // of these: the target holds what another configuration of the channel has made
	Bytes    int64 // of all records
	// Standings are those of the keys by their records.
	Standings why.Counts
}

// A weight is what a record in the bucket adds to a Stock.
type weight struct {
	bytes         int32
	key, outdated bool
	standing      why.Standing
}

func (s *Stock) add(w weight, sign int64) {
	s.Bytes += sign * int64(w.bytes)
	if w.key {
		s.Keys += sign
	}
	if w.outdated {
		s.Outdated += sign
	}
	s.Standings.Add(w.standing, sign)
}

// replace counts a record that came in another one's place.
func (s *Stock) replace(was, now weight) {
	if was.standing == now.standing { // as mostly
		was.standing, now.standing = why.Standing{}, why.Standing{}
	}
	s.add(was, -1)
	s.add(now, 1)
}

// What is kept of the stock follows each record that is written, once Resume or Tally has
// said what there was before.
type kept struct {
	known bool
	now   Stock
	// ahead is how the standings by the records in memory differ from those by the bucket.
	ahead why.Counts
	// tally is the one that is under way; nil if none is.
	tally *tally
}

// A tally counts the records up to end as they are read, up to next so far.
type tally struct {
	sum       Stock
	next, end uint64
	// leaving are the revisions of those that were about to be replaced before their turn.
	leaving map[uint64]struct{}
	// spoiled says that a record has come by another way than by a write of ours that was
	// answered.
	spoiled bool
}

// leave notes that the record with a revision is about to be replaced. It is in the bucket
// until then: if the reader is past it, it was counted.
func (t *tally) leave(revision uint64) {
	if t != nil && revision >= t.next && revision <= t.end {
		t.leaving[revision] = struct{}{}
	}
}

// replaced notes that a record came in another one's place; before is 0 if there was none.
func (t *tally) replaced(before uint64, was, now weight) {
	if t == nil {
		return
	}
	if _, left := t.leaving[before]; left || before == 0 {
		was = weight{}
	}
	t.sum.replace(was, now)
}

// spoil has the tally begin anew.
func (t *tally) spoil() {
	if t != nil {
		t.spoiled = true
	}
}

// recordOverhead is what the stream takes for a record besides its content, its key and the
// channel's name, in bytes: the rest of its subject, the header of the compare-and-set, and
// what the store adds to each message.
const recordOverhead = 120

// weigh returns what a record adds. One of a former channel of the name is no key of ours.
func (v *View) weigh(rec *wire.Record, enc string, size int) weight {
	if size > 0 {
		size += recordOverhead + len(v.o.Channel) + len(enc)
	}
	w := weight{bytes: int32(min(size, math.MaxInt32)), key: rec.Format != 0} //nolint:gosec // bounded
	w.outdated = w.key && rec.Outdated(v.o.Content)
	w.standing = why.OfRecord(rec, v.o.Content)
	return w
}

// replaced notes what lies in the bucket of a key now. The caller holds mu.
func (v *View) replaced(k *Key, revision uint64, now weight) {
	before, was := k.revision, k.weight
	k.revision, k.weight = revision, now
	if before == revision {
		return
	}
	v.kept.now.replace(was, now)
	if was.standing != now.standing {
		v.kept.ahead.Add(was.standing, 1)
		v.kept.ahead.Add(now.standing, -1)
	}
	v.kept.tally.replaced(before, was, now)
	v.measure()
}

// Stock returns what the partition has in the ledger; false if that is not known yet.
func (v *View) Stock() (Stock, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.kept.now
	s.Standings = slices.Clone(s.Standings)
	return s, v.kept.known
}

// stands notes how a key stands whose record in memory has changed. The caller holds mu.
func (v *View) stands(k *Key, rec *wire.Record) {
	was := k.standing
	if k.standing = why.OfRecord(rec, v.o.Content); k.standing != was {
		v.kept.ahead.Add(was, -1)
		v.kept.ahead.Add(k.standing, 1)
	}
}

// A Holding is a pinned key with something in hand, and how it stands for that.
type Holding struct {
	Key      *Key
	Standing why.Standing
}

// Standings returns how the partition's keys stand: by what is in hand, else by their records
// as they are in memory, else as they are in the bucket. It returns false while that is not
// known. Of a key in hand whose record was not read yet, and that has one, one less is in sync.
func (v *View) Standings(hand []Holding) (why.Counts, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.kept.known {
		return nil, false
	}
	out := slices.Clone(v.kept.now.Standings)
	out.AddAll(v.kept.ahead)
	unread := int64(0)
	for _, h := range hand {
		out.Add(h.Standing, 1)
		if h.Key.loaded {
			out.Add(h.Key.standing, -1)
		} else if !v.isNew(h.Key.encoded) {
			unread++
		}
	}
	out.Unread(unread)
	return out, true
}

// expect returns what a record will take in the bucket, rather too much than too little.
func (v *View) expect(rec *wire.Record) int {
	const record, settlement = 480, 200
	n := record + recordOverhead + len(v.o.Channel) + 2*len(rec.Key) // as it is, and encoded
	for i := range rec.Recent {
		s := &rec.Recent[i]
		n += settlement + len(s.ID) + len(s.Message) + len(s.Response)
	}
	n += rec.Refs.Size()
	return n
}

// Exhausted reports whether the partition has used up its share of the ledger, with what is
// about to be written of keys that have no record yet. While that is not known it has not.
func (v *View) Exhausted() bool { return v.exhausted.Load() }

// Used returns how much of the ledger the partition takes, in bytes, as Exhausted sees it.
func (v *View) Used() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.kept.now.Bytes + int64(v.fresh)
}

// measure brings exhausted up to date. The caller holds mu.
func (v *View) measure() {
	v.exhausted.Store(v.kept.known && v.o.Share > 0 && v.kept.now.Bytes+int64(v.fresh) >= v.o.Share)
}

// Resume goes on from what was counted before. It is called before anything is written.
func (v *View) Resume(s Stock) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept.now, v.kept.known = s, true
	v.measure()
}

// Tally counts the partition's records by reading them, slowly, while the view writes.
// Meanwhile Stock says what it has said before. One tally at a time.
func (v *View) Tally(ctx context.Context) error {
	var t *tally
	err := v.alone(ctx, func() (err error) {
		t, err = v.beginTally(ctx)
		return err
	})
	if err == nil {
		err = v.readAll(ctx, t)
	}
	if err == nil {
		err = v.alone(ctx, func() error { return v.endTally(t) })
	}
	if err != nil {
		v.setTally(nil)
		return fmt.Errorf("count the ledger's records: %w", err)
	}
	return nil
}

var errSpoiled = errors.New("the answer to a write was lost meanwhile")

// alone calls f while no record is on its way: of each it is known then whether the bucket
// has it.
func (v *View) alone(ctx context.Context, f func() error) error {
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
		return f()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// beginTally begins: what the bucket has now is read, what is written from now on we hear
// of.
func (v *View) beginTally(ctx context.Context) (*tally, error) {
	s, err := v.o.JS.Stream(ctx, wire.KVStream(wire.LedgerBucket(v.o.Names)))
	if err != nil {
		return nil, err
	}
	t := &tally{next: 1, end: s.CachedInfo().State.LastSeq, leaving: map[uint64]struct{}{}}
	v.setTally(t)
	return t, nil
}

// endTally takes over what was counted.
func (v *View) endTally(t *tally) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t.spoiled {
		return errSpoiled
	}
	v.kept.known, v.kept.now, v.kept.tally = true, t.sum, nil
	v.measure()
	return nil
}

func (v *View) setTally(t *tally) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept.tally = t
}

func (v *View) readAll(ctx context.Context, t *tally) error {
	if t.end == 0 {
		return nil // an end of 0 would be none
	}
	n, all := 0, wire.StreamQuery{Stream: wire.KVStream(wire.LedgerBucket(v.o.Names)), Subject: v.o.Records, From: 1, Until: t.end}
	for msg, err := range wire.ReadStream(ctx, v.o.JS, all) {
		if err != nil {
			return err
		}
		v.tallied(t, msg)
		if n++; n%countBatch == 0 && !sleep.For(ctx, countPause) {
			return context.Cause(ctx)
		}
	}
	return nil
}

// tallied counts a record that was read, unless it is being replaced.
func (v *View) tallied(t *tally, msg *jetstream.RawStreamMsg) {
	rec, err := wire.DecodeRecord(msg.Data)
	if err != nil || rec.ChannelID != v.o.ID {
		rec = wire.Record{} // it takes its room all the same
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	t.next = msg.Sequence + 1
	if _, leaves := t.leaving[msg.Sequence]; !leaves {
		t.sum.add(v.weigh(&rec, wire.KeyOfSubject(msg.Subject), len(msg.Data)), 1)
	}
}
