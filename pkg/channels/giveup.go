package channels

import (
	"context"
	"errors"
	"fmt"

	"github.com/hms-utl/extsync/pkg/events"
)

var (
	// ErrGiveUp says that the owner did not give an update up.
	ErrGiveUp = errors.New("the update was not given up")
	// ErrNotPending says that the owner of a key has no update of it.
	ErrNotPending = errors.New("its worker has no update of the key in hand: 'extsync get' says how the key stands")
)

// GiveUp asks the owner of a key's partition to end the update of it that fails, and returns
// its outcome: DeadLettered with events.CodeGivenUp, or another one if it came to that
// meanwhile. The errors: ErrNotFound, ErrDeleted, ErrNoOwner, ErrGiveUp, or that of the
// request, after which it may have been given up.
func (r *Registry) GiveUp(ctx context.Context, channel, key string) (events.Settlement, error) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return events.Settlement{}, err
	}
	reply, err := r.ask(ctx, channel, enc, ControlRequest{Op: ControlGiveUp, Key: key}, ErrGiveUp, "key")
	if err != nil {
		return events.Settlement{}, err
	}
	if reply.Settled == nil {
		return events.Settlement{}, fmt.Errorf("%w: its worker does not know how", ErrGiveUp)
	}
	return *reply.Settled, nil
}
