package connectors

import (
	"context"
	"time"
)

type beginByKey struct{}

// WithBeginBy returns a context whose calls must not be begun at the target later than
// until says, which is asked when it matters: the time moves on while a worker keeps its
// keys. It is for what outlives the worker, and does not hear that ctx has ended.
func WithBeginBy(ctx context.Context, until func() time.Time) context.Context {
	return context.WithValue(ctx, beginByKey{}, until)
}

// BeginBy returns until when, as things stand now, a call with ctx may be begun at the
// target: not later than ctx ends, and than WithBeginBy says. It is zero if there is no
// bound.
func BeginBy(ctx context.Context) time.Time {
	by, _ := ctx.Deadline()
	until, ok := ctx.Value(beginByKey{}).(func() time.Time)
	if !ok {
		return by
	}
	if lease := until(); by.IsZero() || lease.Before(by) {
		return lease
	}
	return by
}

type partitionKey struct{}

// WithPartition returns a context whose calls are for keys of this partition of the channel,
// which one worker owns at a time.
func WithPartition(ctx context.Context, partition int) context.Context {
	return context.WithValue(ctx, partitionKey{}, partition)
}

// PartitionOf returns the partition of the channel that a call with ctx is for. It is false
// where nobody owns one, such as a trial by hand. All attempts of a call are of one.
func PartitionOf(ctx context.Context) (partition int, ok bool) {
	partition, ok = ctx.Value(partitionKey{}).(int)
	return partition, ok
}
