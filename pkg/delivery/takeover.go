package delivery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/feed"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
)

// lapsedWait is how long the successor of a worker that did not hand over waits
// before its first call: a call of the predecessor may still be on the wire.
const lapsedWait = time.Second

// A takeover makes this worker the only one that can commit to a partition.
type takeover struct {
	*tenure
	left channels.Progress // by the owner before
}

// takeOver makes this worker the only one that can commit to the partition:
//
//  1. it puts a mark into the log, after which a predecessor's commit fails;
//  2. it applies the log's tail to the ledger's view, and sends those acks again;
//  3. it loads what was parked;
//  4. it deletes the predecessor's consumer and makes its own at the floor.
func (t *tenure) takeOver(ctx context.Context) error {
	left, err := t.progress.Read(ctx)
	if err != nil {
		return err
	}
	if left.Restored != 0 { // another worker has found it
		t.b.alarm(left.RestoredTime())
	}
	t.lanes.Floor().StartAt(left.Floor, left.FloorTime)
	t.census.resume(&left)
	t.p.r.gate.Resume(left.Refusals)
	gated := t.p.r.entry.Gated
	if gated && left.Clean {
		return nil
	}
	if err := t.outcomes.Fence(ctx); err != nil {
		return err
	}
	to := &takeover{t, left}
	if err := to.recoverTail(ctx); err != nil {
		return err
	}
	if gated { // nothing is delivered: the log's tail was all there is to do
		return nil
	}
	if err := t.parker.recover(ctx); err != nil {
		return err
	}
	if err := to.startConsumer(ctx); err != nil {
		return err
	}
	if !left.Clean && !sleep.For(ctx, lapsedWait) {
		return context.Cause(ctx)
	}
	t.log.Info().Uint64("floor", t.progress.Now().Floor).Bool("lapsed", !left.Clean).Msg("partition taken over")
	return nil
}

// recoverEvery is how often a long recovery of the log's tail says how far it is.
const recoverEvery = 10 * time.Second

// recoverTail adds to the view what the log has and the ledger may not, and sends those
// acks again.
func (t *takeover) recoverTail(ctx context.Context) error {
	end, from := t.outcomes.End().Seq, t.left.LogSeq
	if from >= end { // our mark is the last of the log
		t.distrust(t.left.Floor, fmt.Sprintf("the outcome log ends at %d, but the ledger reflects it up to %d", end, from))
		from = 0
	}
	groups, said := 0, time.Now()
	err := t.outcomes.Tail(ctx, from, func(at wire.LogPosition, entries []wire.Entry) error {
		if err := t.recoverGroup(ctx, entries, at); err != nil {
			return err
		}
		if at.Incarnation == t.b.incarnation { // who waited before the restore waits no more
			if err := t.replies.send(ctx, entries); err != nil {
				return err
			}
		}
		groups++
		t.p.sight.working(time.Now())
		if time.Since(said) > recoverEvery {
			said = time.Now()
			t.log.Info().Uint64("sequence", at.Seq).Uint64("until", end).Msg("outcomes are being recovered from the log")
		}
		return t.makeRoom(ctx, at.Seq)
	})
	if err != nil {
		return err
	}
	if groups > 0 {
		t.log.Info().Int("groups", groups).Msg("outcomes recovered from the log")
	}
	t.acked = end
	return nil
}

// makeRoom writes what was recovered up to a sequence of the log to the ledger, when
// that is much.
func (t *takeover) makeRoom(ctx context.Context, seq uint64) error {
	if !t.view.Full() {
		return nil
	}
	if _, err := t.view.Write(ctx); err != nil {
		return err
	}
	return t.changeProgress(ctx, func(p *channels.Progress) { p.LogSeq, p.Clean = seq, false })
}

// recoverGroup adds the entries of one group to the view.
func (t *takeover) recoverGroup(ctx context.Context, entries []wire.Entry, at wire.LogPosition) error {
	keys := make([]*ledger.Key, len(entries)) // nil: has no place in the ledger
	for i := range entries {
		if key := encodedKey(&entries[i]); key != "" {
			keys[i] = t.view.Pin(key)
		}
	}
	pinned := slices.DeleteFunc(slices.Clone(keys), func(k *ledger.Key) bool { return k == nil })
	err := t.view.Load(ctx, pinned)
	if err == nil {
		t.view.Group(at, func(g ledger.Group) {
			for i, k := range keys {
				if k != nil {
					g.Apply(k, &entries[i])
				}
			}
		})
	}
	for _, k := range pinned {
		t.view.Unpin(k)
	}
	return err
}

// encodedKey returns the ledger's key of an entry; "" if it has no place there.
func encodedKey(e *wire.Entry) string {
	if !ledger.HasPlace(e) {
		return ""
	}
	enc, err := events.EncodeKey(e.Key)
	if err != nil {
		return ""
	}
	return enc
}

// startConsumer makes the first consumer of the tenure, at the floor that the owner
// before left.
func (t *takeover) startConsumer(ctx context.Context) error {
	left := &t.left
	from, found, err := t.feed.Look(ctx, feed.Floor{Seq: left.Floor, Stored: left.FloorTime}, left.StreamCreated)
	if err != nil {
		return err
	}
	t.lanes.Begins(t.feed.Since(), time.Unix(0, t.feed.Created()).After(t.b.incarnation.Began()),
		left.Consumer == "" && t.p.r.entry.Generation == 1)
	if found != "" { // a floor past the end would wait in silence, another would skip
		t.distrust(left.Floor, found)
	}
	if t.p.restored {
		from = feed.Floor{}
	}
	t.lanes.Floor().StartAt(from.Seq, from.Stored)
	if err := t.feed.Open(ctx, from); err != nil {
		return err
	}
	t.p.restored = false // what comes from now on is of the stream as it is
	return nil
}
