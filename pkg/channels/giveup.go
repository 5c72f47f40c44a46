package channels

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
)

var (
	// ErrGiveUp says that the owner did not give an update up.
	ErrGiveUp = errors.New("the update was not given up")
	// ErrNotPending says that the owner of a key has no update of it.
	ErrNotPending = errors.New("its worker has no update of the key in hand: 'extsync get' says how the key stands")
)

// endPatience is for how long the owner's answer is awaited: an attempt may be under way.
const endPatience = 20 * time.Second

// GiveUp asks the owner of a key's partition to end the update of it that fails, and returns
// its outcome: DeadLettered with events.CodeGivenUp, or another one if it came to that
// meanwhile. The errors: ErrNotFound, ErrDeleted, ErrNoOwner, ErrGiveUp, or that of the
// request, after which it may have been given up.
func (r *Registry) GiveUp(ctx context.Context, channel, key string) (events.Settlement, error) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return events.Settlement{}, err
	}
	e, err := r.Get(ctx, channel)
	if err != nil {
		return events.Settlement{}, err
	}
	if !e.Deleted.IsZero() {
		return events.Settlement{}, deletedError(e)
	}
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	partition := events.Partition(enc, e.Config.Partitions)
	reply, err := r.control(ctx, channel, partition, ControlRequest{Format: events.Format, Op: ControlGiveUp, Key: key})
	switch {
	case errors.Is(err, context.DeadlineExceeded) && asked.Err() == nil: // the worker has died
		return events.Settlement{}, fmt.Errorf("%w: no answer in %s; it may have been all the same: look at the key again", ErrGiveUp, endPatience)
	case err != nil:
		return events.Settlement{}, err
	case reply.Error != "":
		return events.Settlement{}, fmt.Errorf("%w: %s", ErrGiveUp, reply.Error)
	case reply.Settled == nil:
		return events.Settlement{}, fmt.Errorf("%w: its worker does not know how", ErrGiveUp)
	}
	return *reply.Settled, nil
}
