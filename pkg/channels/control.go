package channels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// ControlReset asks the owner of a partition to forget a key.
const ControlReset = "reset"

// A ControlRequest goes to the owner of a partition on Names.Control; the owner
// answers with a ControlReply.
type ControlRequest struct {
	Format int    `json:"f"`
	Op     string `json:"op"`
	Key    string `json:"key"`
}

// A ControlReply has an empty Error if the request was carried out.
type ControlReply struct {
	Format int    `json:"f"`
	Error  string `json:"error,omitempty"`
}

var (
	// ErrKeyBusy says that updates of the key are on their way.
	ErrKeyBusy = errors.New("the key has updates in flight; pause publishing it and try again")
	// ErrNoOwner says that no worker works on the key's partition.
	ErrNoOwner = errors.New("no worker owns the key's partition; start one, or resume the channel")
	// ErrReset says that the owner could not reset a key.
	ErrReset = errors.New("the key was not reset")
)

// ResetKey makes a channel forget what it knows of a key: ledger, newest version
// and dead letters, whose versions mean nothing any more. It is for a platform
// that was restored from a backup and counts its versions anew; the target is not
// touched, and one that guards itself still refuses what it holds to be older. It
// may be repeated if it fails.
func (r *Registry) ResetKey(ctx context.Context, channel, key string) error {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return err
	}
	e, err := r.Get(ctx, channel)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	letters, err := r.js.Stream(ctx, r.names.DeadStream())
	if err != nil {
		return fmt.Errorf("reset key: %w", err)
	}
	lastLetter := letters.CachedInfo().State.LastSeq // later ones are of new versions
	// The ledger first: between this and the last step the old newest version still
	// keeps publishers from starting anew, so nothing can be lost there.
	if err := r.resetLedger(ctx, e.Config, key, enc); err != nil {
		return err
	}
	if err := letters.Purge(ctx, jetstream.WithPurgeSubject(r.names.Dead(channel, enc)), jetstream.WithPurgeSequence(lastLetter+1)); err != nil {
		return fmt.Errorf("reset key: remove its dead letters: %w", err)
	}
	stream, err := r.js.Stream(ctx, r.names.UpdateStream(channel))
	if err != nil {
		return fmt.Errorf("reset key: %w", err)
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(r.names.StoredUpdate(channel, enc))); err != nil {
		return fmt.Errorf("reset key: remove its newest version: %w", err)
	}
	return nil
}

// resetLedger has the owner of a key's partition make the ledger forget it.
func (r *Registry) resetLedger(ctx context.Context, c Config, key, enc string) error {
	data, err := json.Marshal(ControlRequest{Format: events.Format, Op: ControlReset, Key: key})
	if err != nil {
		return fmt.Errorf("reset key: %w", err)
	}
	partition := events.Slot(enc) % c.Partitions
	msg, err := r.js.Conn().RequestWithContext(ctx, r.names.Control(c.Name, partition), data)
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: channel %s, partition %d", ErrNoOwner, c.Name, partition)
	}
	if err != nil {
		return fmt.Errorf("reset key: %w", err)
	}
	var reply ControlReply
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return fmt.Errorf("reset key: answer of the owner: %w", err)
	}
	if reply.Error != "" {
		return fmt.Errorf("%w: %s", ErrReset, reply.Error)
	}
	return nil
}
