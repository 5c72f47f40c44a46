package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
)

// lapsedWait is how long the successor of a worker that did not hand over waits
// before its first call: a call of the predecessor may still be on the wire.
const lapsedWait = time.Second

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
	t.floor.StartAt(left.Floor, left.FloorTime)
	gated := t.p.r.entry.Gated
	if gated && left.Clean {
		return nil
	}
	if err := t.outcomes.Fence(ctx); err != nil {
		return err
	}
	if err := t.recoverTail(ctx, left); err != nil {
		return err
	}
	if gated { // nothing is delivered: the log's tail was all there is to do
		return nil
	}
	if err := t.recoverParked(ctx); err != nil {
		return err
	}
	if err := t.startConsumer(ctx, left); err != nil {
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
// acks again. left is what the owner before has left.
func (t *tenure) recoverTail(ctx context.Context, left channels.Progress) error {
	end := t.outcomes.End().Seq
	if left.LogSeq >= end { // our mark is the last of the log
		t.distrust(left.Floor, fmt.Sprintf("the outcome log ends at %d, but the ledger reflects it up to %d", end, left.LogSeq))
		left.LogSeq = 0
	}
	groups, said := 0, time.Now()
	err := t.outcomes.Tail(ctx, left.LogSeq, func(at events.LogPosition, entries []events.Entry) error {
		if err := t.recoverGroup(ctx, entries, at); err != nil {
			return err
		}
		if at.Incarnation == t.b.incarnation { // who waited before the restore waits no more
			if err := t.replyAll(ctx, entries); err != nil {
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
	t.ackedSeq = end
	return nil
}

// makeRoom writes what was recovered up to a sequence of the log to the ledger, when
// that is much.
func (t *tenure) makeRoom(ctx context.Context, seq uint64) error {
	if !t.view.Full() {
		return nil
	}
	if _, err := t.view.Write(ctx); err != nil {
		return err
	}
	return t.changeProgress(ctx, func(p *channels.Progress) { p.LogSeq, p.Clean = seq, false })
}

// recoverGroup adds the entries of one group to the view.
func (t *tenure) recoverGroup(ctx context.Context, entries []events.Entry, at events.LogPosition) error {
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
func encodedKey(e *events.Entry) string {
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
func (t *tenure) startConsumer(ctx context.Context, left channels.Progress) error {
	stream, err := t.b.js.Stream(ctx, t.stream)
	if err != nil {
		return fmt.Errorf("stream of the channel: %w", err)
	}
	info := stream.CachedInfo()
	t.created = info.Created.UnixNano()
	floor, storedAt := left.Floor, left.FloorTime
	if left.StreamCreated != t.created { // another stream
		floor, storedAt = 0, 0
	}
	why, err := t.contradiction(ctx, info, floor, storedAt, floor)
	if err != nil {
		return err
	}
	if why != "" { // a floor past the end would wait in silence, another would skip
		t.distrust(left.Floor, why)
	}
	if t.p.restored {
		floor, storedAt = 0, 0
	}
	t.floor.StartAt(floor, storedAt)
	if err := t.replaceConsumer(ctx, floor, storedAt); err != nil {
		return err
	}
	t.p.restored = false // what comes from now on is of the stream as it is
	return nil
}

// replaceConsumer makes a consumer to which all above floor comes again, after
// deleting the one before, which ends its open pull and voids its acks. A name
// is never used twice: an old consumer's acks would settle our messages.
func (t *tenure) replaceConsumer(ctx context.Context, floor uint64, storedAt int64) error {
	stream, err := t.b.js.Stream(ctx, t.stream)
	if err != nil {
		return fmt.Errorf("stream of the channel: %w", err)
	}
	if t.created != stream.CachedInfo().Created.UnixNano() {
		return errStreamReplaced
	}
	if err := t.deleteConsumer(ctx, t.progress.Now().Consumer); err != nil {
		return err
	}
	t.consumers++
	name := fmt.Sprintf("g%d-p%d-e%d-%d-%d", t.p.r.entry.Generation, t.p.index, t.p.lease.Epoch(), t.attempt, t.consumers)
	if err := t.changeProgress(ctx, func(p *channels.Progress) {
		p.Floor, p.FloorTime, p.StreamCreated, p.Consumer, p.Done, p.Clean = floor, storedAt, t.created, name, 0, false
	}); err != nil {
		return err
	}
	t.mu.Lock()
	t.received = 0
	t.mu.Unlock()
	t.consumer, err = t.createConsumer(ctx, stream, t.consumerConfig(name, floor))
	if err != nil {
		return fmt.Errorf("create consumer %s: %w", name, err)
	}
	return nil
}

const (
	// ackWait is a safety net for lost acks only: what a worker holds is not
	// given to another, and comes again to the same one without harm.
	ackWait = time.Minute
	// orphanAge is after how long the server removes a consumer that nobody
	// pulls from. It is far above any lease.
	orphanAge = 10 * time.Minute
)

// consumerConfig returns the consumer of a partition, a cursor only: progress is
// ours. A work queue removes what is acked, and what is left there is the
// progress. In a latest channel an ack would tell the broker nothing that the
// floor does not say, so there are none (docs/adr/0023).
func (t *tenure) consumerConfig(name string, floor uint64) jetstream.ConsumerConfig {
	cfg := t.p.r.entry.Config
	c := jetstream.ConsumerConfig{Name: name, InactiveThreshold: orphanAge, MemoryStorage: true}
	if cfg.Partitions > 1 {
		c.FilterSubjects = t.subjects()
	}
	if cfg.Mode == channels.Every {
		c.DeliverPolicy = jetstream.DeliverAllPolicy
		c.AckPolicy, c.AckWait, c.MaxDeliver, c.MaxAckPending = jetstream.AckExplicitPolicy, ackWait, -1, cfg.Window
		return c
	}
	c.Replicas = 1
	c.AckPolicy = jetstream.AckNonePolicy
	c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, floor+1
	return c
}

// subjects returns what the stored updates of the partition are stored under.
func (t *tenure) subjects() []string {
	cfg := t.p.r.entry.Config
	if cfg.Partitions == 1 {
		return []string{t.b.names.StoredUpdates(cfg.Name)}
	}
	slots := partitionSlots(t.p.index, cfg.Partitions)
	out := make([]string, len(slots))
	for i, slot := range slots {
		out[i] = t.b.names.SlotUpdates(cfg.Name, slot, "*")
	}
	return out
}

// createConsumer creates a consumer. In a work queue the predecessor's may still
// be there although it was deleted: a cluster that lost its leader needs a
// moment. Then all that belong to the partition are deleted again.
func (t *tenure) createConsumer(ctx context.Context, stream jetstream.Stream, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		c, err := stream.CreateConsumer(ctx, cfg)
		if events.MeaningOf(err) != events.Overlap {
			return c, err
		}
		t.log.Info().Err(err).Msg("the predecessor's consumer is still there; deleting it again")
		if err := t.deleteOthers(ctx, stream, cfg.Name); err != nil {
			return nil, err
		}
		if !sleep.For(ctx, wait) {
			return nil, context.Cause(ctx)
		}
	}
}

// deleteOthers deletes every consumer of this partition but one.
func (t *tenure) deleteOthers(ctx context.Context, stream jetstream.Stream, keep string) error {
	names := stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if name != keep && consumerOfPartition(name, t.p.index) {
			if err := t.deleteConsumer(ctx, name); err != nil {
				return err
			}
		}
	}
	return names.Err()
}

// consumerOfPartition reports whether a consumer's name says that it belongs to
// the partition, in any generation.
func consumerOfPartition(name string, partition int) bool {
	var generation, p int
	n, err := fmt.Sscanf(name, "g%d-p%d-", &generation, &p)
	return err == nil && n == 2 && p == partition
}

// deleteConsumer deletes a consumer until it is gone.
func (t *tenure) deleteConsumer(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := t.b.js.DeleteConsumer(ctx, t.stream, name)
		if err == nil || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if !events.IsUnavailable(err) {
			return fmt.Errorf("delete consumer %s: %w", name, err)
		}
		if !sleep.For(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// partitionSlots returns the slots of a partition.
func partitionSlots(partition, partitions int) []int {
	var out []int
	for slot := partition; slot < events.Slots; slot += partitions {
		out = append(out, slot)
	}
	return out
}
