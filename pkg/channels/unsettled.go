package channels

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
)

// restoredSlack is by how much what lies below a floor may be newer than the floor's time, as the
// clocks of servers differ.
const restoredSlack = 250 * time.Millisecond

// Unsettled returns the sequence of the channel's stream from which on updates may have no
// outcome, or be parked. It is 1 in a channel of the mode every, where what is settled leaves the
// stream, and where that is not known; then a parked update is in the stream, too. What happens
// meanwhile can make it too low only. It fails with jetstream.ErrStreamNotFound if the stream is
// gone.
func (r *Registry) Unsettled(ctx context.Context, e Entry) (uint64, error) {
	from, err := r.unsettled(ctx, e)
	if err != nil {
		return 1, fmt.Errorf("channel %s: %w", e.Config.Name, err)
	}
	return from, nil
}

func (r *Registry) unsettled(ctx context.Context, e Entry) (uint64, error) {
	if e.Config.Mode == Every {
		return 1, nil
	}
	// What a channel is filled with lies below the floor. It is looked at first, and what is parked
	// last: an update leaves the one place after it has come to the other.
	if fills, err := r.fills(ctx, e); err != nil || fills {
		return 1, err
	}
	stream, err := r.js.Stream(ctx, wire.UpdateStream(r.names, e.Config.Route()))
	if err != nil {
		return 1, err
	}
	from := uint64(math.MaxUint64)
	times := make([]int64, e.Config.Partitions)
	for p := range e.Config.Partitions {
		progress, _, err := r.progress.Read(ctx, e.Config.Name, e.Generation, p)
		if err != nil {
			return 1, err
		}
		from, times[p] = min(from, behindFloor(e, stream.CachedInfo(), &progress)), progress.FloorTime
	}
	if parks, err := r.parks(ctx, e); err != nil || parks {
		return 1, err
	}
	if restored, err := r.givenAgain(ctx, e, from-1, times); err != nil || restored {
		return 1, err
	}
	return from, nil
}

// fills reports whether a channel still gets what its topic had, or is to.
func (r *Registry) fills(ctx context.Context, e Entry) (bool, error) {
	if e.Config.From == nil {
		return false, nil
	}
	status, err := r.ResyncStatus(ctx, e.Config.Name)
	if errors.Is(err, ErrNoResync) {
		return e.Fill != "", nil // nobody has begun
	}
	return status.Fill && status.State != ResyncDone, err
}

// parks reports whether updates of a channel are parked.
func (r *Registry) parks(ctx context.Context, e Entry) (bool, error) {
	_, err := wire.ReadFromLeader(ctx, r.js, wire.ParkedStream(r.names), wire.MessageQuery{NextOn: wire.ParkedFilter(r.names, e.Config.Name), Sequence: 1})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return err == nil, err
}

// givenAgain reports whether the stream has a message up to a sequence that is newer than when all
// of its partition up to the floor was stored: the broker came back older, and gave sequences again.
// times are those of the floors, by partition; 0: not known.
func (r *Registry) givenAgain(ctx context.Context, e Entry, until uint64, times []int64) (bool, error) {
	for p, at := range times {
		if at == 0 {
			continue
		}
		subject := wire.PartitionUpdates(r.names, e.Config.Route(), p, e.Config.Partitions)
		msg, err := wire.LastUpTo(ctx, r.js, wire.UpdateStream(r.names, e.Config.Route()), subject, until)
		if err != nil || msg != nil && msg.Time.UnixNano() > at+int64(restoredSlack) {
			return true, err
		}
	}
	return false, nil
}
