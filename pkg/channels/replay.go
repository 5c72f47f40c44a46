package channels

import (
	"context"
	"errors"
	"fmt"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Replayed is what the owner of a partition says of a dead letter that it was asked to send
// again.
type Replayed struct {
	Worker string `json:"worker"`
	// Outcome is Delivered or Superseded, which the outcome log has; else empty, and the
	// letter stays.
	Outcome events.Outcome     `json:"outcome,omitempty"`
	By      versioning.Version `json:"by,omitzero"` // of Superseded
	Failure *events.Failure    `json:"failure,omitempty"`
	// UnderWay: a call, or its outcome, is on its way.
	UnderWay bool `json:"under_way,omitempty"`
	// Gone: the letter was settled or discarded meanwhile.
	Gone bool `json:"gone,omitempty"`
	// Yields: another update of the key is on its way, and goes first.
	Yields bool `json:"yields,omitempty"`
	// GivenBack: the worker gave the partition up meanwhile.
	GivenBack bool `json:"given_back,omitempty"`
}

// ErrReplay says that the owner refused to send a dead letter again.
var ErrReplay = errors.New("the dead letter was not sent again")

// Replay asks the owner of a key's partition to send the update of one of its dead letters
// again, and waits some seconds for what comes of it. The errors: ErrNotFound, ErrDeleted, ErrNoOwner,
// ErrReplay, or that of the request, after which the update may have been sent.
func (r *Registry) Replay(ctx context.Context, channel, encodedKey string, letter uint64) (Replayed, error) {
	reply, err := r.ask(ctx, channel, encodedKey, ControlRequest{Op: ControlReplay, Letter: letter}, ErrReplay, "letter")
	if err != nil {
		return Replayed{}, err
	}
	if reply.Replayed == nil {
		return Replayed{}, fmt.Errorf("%w: its worker does not know how", ErrReplay)
	}
	return *reply.Replayed, nil
}
