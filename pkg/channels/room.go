package channels

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// ErrNoRoom says that the broker does not offer as much storage as is to be reserved.
var ErrNoRoom = errors.New("the broker has not enough room for what is reserved")

// A RoomError says what would have been reserved. It wraps ErrNoRoom and, if the
// broker was asked, what it has answered.
type RoomError struct {
	// Need is how much more would be reserved, once on each of Replicas servers.
	Need     Bytes
	Replicas int
	// Offered is what is left to the account, of all servers together; -1: the broker
	// does not tell.
	Offered Bytes
	// Parts are the streams that would be made or enlarged.
	Parts []RoomPart
	cause error
}

// A RoomPart is one stream.
type RoomPart struct {
	Stream string
	Bytes  Bytes // reserved anew
}

// Error names the sizes.
func (e *RoomError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %s more are needed", ErrNoRoom, e.Need.Rounded())
	if e.Replicas > 1 {
		fmt.Fprintf(&b, " on each of %d servers", e.Replicas)
	}
	if e.Offered >= 0 {
		fmt.Fprintf(&b, ", %s are left to the account", e.Offered.Rounded())
	}
	b.WriteString(" (")
	for i, p := range e.Parts {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s", p.Stream, p.Bytes.Rounded())
	}
	b.WriteString("); nothing was changed")
	if e.cause != nil {
		fmt.Fprintf(&b, ": %v", e.cause)
	}
	return b.String()
}

// Unwrap returns ErrNoRoom and what the broker has answered.
func (e *RoomError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrNoRoom}
	}
	return []error{ErrNoRoom, e.cause}
}

func (r *reservation) roomError(offered int64, cause error) *RoomError {
	e := &RoomError{Replicas: r.replicas, Offered: Bytes(offered), cause: cause}
	for _, p := range r.parts {
		if p.bytes > 0 {
			e.Need += Bytes(p.bytes)
			e.Parts = append(e.Parts, RoomPart{p.want.Name, Bytes(p.bytes)})
		}
	}
	return e
}

// checkAccount compares what is to be reserved with what the broker offers to the
// account. What a server has itself (max_file_store) it tells only by refusing.
func (r *reservation) checkAccount(ctx context.Context) error {
	var info *jetstream.AccountInfo
	err := persist(ctx, func(ctx context.Context) (err error) {
		info, err = r.js.AccountInfo(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask what the broker offers: %w", err)
	}
	// Flat limits count every copy; those of a tier are for streams with so many.
	tier, copies := info.Tier, int64(r.replicas)
	if t, ok := info.Tiers[fmt.Sprintf("R%d", r.replicas)]; ok {
		tier, copies = t, 1
	}
	if tier.Limits.MaxStore < 0 {
		return nil
	}
	left := max(0, tier.Limits.MaxStore-int64(tier.ReservedStore)) //nolint:gosec // a size of storage fits
	if e := r.roomError(left, nil); int64(e.Need)*copies > left {
		return e
	}
	return nil
}

// refused says why a stream could not be made.
func (r *reservation) refused(p part, err error) error {
	switch {
	case wire.IsFull(err), wire.MeaningOf(err) == wire.Unavailable && r.replicas > 1:
		// A cluster without enough servers that have room says only that it found none.
		return r.roomError(-1, fmt.Errorf("stream %s: %w", p.want.Name, err))
	default:
		return fmt.Errorf("provision stream %s: %w", p.want.Name, err)
	}
}

// sharedLoss says what a shared stream held.
func sharedLoss(n events.Names, stream string) string {
	switch stream {
	case wire.OutcomeStream(n):
		return "the history of deliveries is lost; what the targets hold is still known, but for outcomes of the last seconds, whose updates are delivered again"
	case wire.KVStream(wire.LedgerBucket(n)):
		return "THE LEDGER IS LOST: what each target holds is known of no key, so an older version that is published now passes as new, " +
			"unless the key's newest one is in its channel's stream or the target guards itself; run 'extsync resync' for each latest channel"
	case wire.DeadStream(n):
		return "all dead letters are lost; let the platform publish what they held again"
	case wire.ParkedStream(n):
		return "updates of failing keys that had been moved out of the way are lost; run 'extsync resync' for each latest channel, and publish those of the others again"
	case wire.AckStream(n):
		return "acks that services had not read are lost; the ledger knows the outcomes"
	case wire.KVStream(wire.RegistryBucket(n)):
		return "THE CONFIGURATIONS OF ALL CHANNELS ARE LOST, and that some were paused: apply the files of all channels, with 'paused: true' where deliveries have to wait"
	case wire.KVStream(wire.InstallationBucket(n)):
		return "the number of the installation is lost, and a new one was made, as after a restore: start workers and publishers again"
	case wire.KVStream(wire.LettersBucket(n)):
		return "which dead letters were discarded is lost; if the broker is killed, discarded ones may be there again"
	case wire.KVStream(wire.ProgressBucket(n)):
		return "how far each channel has come is lost; workers go through its stream from the beginning, and what is settled is recognised"
	case wire.KVStream(wire.TokensBucket(n)):
		return "all API tokens are lost; make new ones before the HTTP API is started again"
	case wire.AuditStream(n):
		return "the records of administrative acts are lost"
	case wire.KVStream(wire.JobsBucket(n)):
		return "the records of jobs are lost; those that were running end where they are, and can be started again"
	case wire.KVStream(wire.IdempotencyBucket(n)):
		return "answers to repeated requests are lost; repeating stays safe"
	default:
		return "nothing is lost: what it holds is written again every few seconds"
	}
}

func channelLoss(c Config) string {
	if c.From != nil {
		return "nothing is lost: the topic has the updates"
	}
	if c.Mode == Every {
		return "updates that waited in it are lost: let the platform publish them again"
	}
	return "the newest version of every key is lost, delivered or not: let the platform publish what may not have been delivered again; resync has nothing to read"
}
