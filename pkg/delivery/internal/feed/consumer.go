package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
)

// replace makes a consumer to which all above floor comes again, after deleting the one
// before, which ends its open pull and voids its acks. A name is never used twice: an old
// consumer's acks would settle our messages.
func (f *Feed) replace(ctx context.Context, floor Floor) error {
	stream, err := f.same(ctx)
	if err != nil {
		return err
	}
	if err := f.Delete(ctx); err != nil {
		return err
	}
	f.made++
	name := fmt.Sprintf("%s-%d", f.o.Prefix, f.made)
	if err := f.o.Cursor.Move(ctx, floor, f.created, name); err != nil {
		return err
	}
	f.to.Anew()
	f.consumer, err = f.create(ctx, stream, f.config(name, floor.Seq))
	if err != nil {
		return fmt.Errorf("create consumer %s: %w", name, err)
	}
	return nil
}

// Delete deletes the consumer that was made last, until it is gone.
func (f *Feed) Delete(ctx context.Context) error { return f.delete(ctx, f.o.Cursor.Consumer()) }

const (
	// ackWait is a safety net for lost acks only: what a worker holds is not
	// given to another, and comes again to the same one without harm.
	ackWait = time.Minute
	// orphanAge is after how long the server removes a consumer that nobody
	// pulls from. It is far above any lease.
	orphanAge = 10 * time.Minute
)

// config returns the consumer of a partition, a cursor only: progress is
// ours. A work queue removes what is acked, and what is left there is the
// progress. In a latest channel an ack would tell the broker nothing that the
// floor does not say, so there are none (docs/adr/0023).
func (f *Feed) config(name string, floor uint64) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{Name: name, InactiveThreshold: orphanAge, MemoryStorage: true}
	if f.o.Partitions > 1 {
		c.FilterSubject = f.Subject() // one, or some servers search (docs/adr/0042)
	}
	if f.o.Queue {
		c.DeliverPolicy = jetstream.DeliverAllPolicy
		c.AckPolicy, c.AckWait, c.MaxDeliver, c.MaxAckPending = jetstream.AckExplicitPolicy, ackWait, -1, f.o.MaxAckPending
		return c
	}
	c.Replicas = 1
	c.AckPolicy = jetstream.AckNonePolicy
	c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, floor+1
	return c
}

// Subject returns the filter of the partition's stored updates.
func (f *Feed) Subject() string {
	return wire.PartitionUpdates(f.o.Names, f.o.Route, f.o.Partition, f.o.Partitions)
}

// create creates a consumer. In a work queue the predecessor's may still
// be there although it was deleted: a cluster that lost its leader needs a
// moment. Then all that belong to the partition are deleted again.
func (f *Feed) create(ctx context.Context, stream jetstream.Stream, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		c, err := stream.CreateConsumer(ctx, cfg)
		if wire.MeaningOf(err) != wire.Overlap {
			return c, err
		}
		f.o.Logger.Info().Err(err).Msg("the predecessor's consumer is still there; deleting it again")
		if err := f.deleteOthers(ctx, stream, cfg.Name); err != nil {
			return nil, err
		}
		if !sleep.For(ctx, wait) {
			return nil, context.Cause(ctx)
		}
	}
}

// deleteOthers deletes every consumer of this partition but one, and those of generations
// that have ended: of an owner that has died, or never heard that it has made one, and that
// no partition of today may have the number of.
func (f *Feed) deleteOthers(ctx context.Context, stream jetstream.Stream, keep string) error {
	names := stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if name != keep && inTheWay(name, keep) {
			if err := f.delete(ctx, name); err != nil {
				return err
			}
		}
	}
	return names.Err()
}

// inTheWay reports whether a consumer's name says that it belongs to the partition of
// another one, in any generation, or to an earlier generation.
func inTheWay(name, of string) bool {
	var generation, partition, current, own int
	if n, err := fmt.Sscanf(name, "g%d-p%d-", &generation, &partition); err != nil || n != 2 {
		return false
	}
	n, err := fmt.Sscanf(of, "g%d-p%d-", &current, &own)
	return err == nil && n == 2 && (partition == own || generation < current)
}

// delete deletes a consumer until it is gone.
func (f *Feed) delete(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := f.o.JS.DeleteConsumer(ctx, f.stream, name)
		if err == nil || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if !wire.IsUnavailable(err) {
			return fmt.Errorf("delete consumer %s: %w", name, err)
		}
		if !sleep.For(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}
