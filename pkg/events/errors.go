package events

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// Errors of publishing. Callers match them with errors.Is.
var (
	// ErrStale says that the key's head is a newer version. The error is a
	// *HeadError.
	ErrStale = errors.New("stale")
	// ErrConflict says that the head is the same version with another content,
	// or not the version that the update was made from. The error is a
	// *HeadError.
	ErrConflict = errors.New("conflict")
	// ErrUnknownChannel says that the broker has no stream for the channel.
	ErrUnknownChannel = errors.New("unknown channel")
	// ErrChannelDeleted says that the channel was deleted and can still be
	// restored.
	ErrChannelDeleted = errors.New("channel is deleted")
	// ErrTooLarge says that an update does not fit into a message.
	ErrTooLarge = errors.New("update is too large")
	// ErrFull says that the channel's stream has no room.
	ErrFull = errors.New("channel is full")
	// ErrBrokerFull says that the broker, or what it gives to the account, has no
	// room: no channel can take anything.
	ErrBrokerFull = errors.New("broker is full")
	// ErrBusy says that other publishers kept changing the same key.
	ErrBusy = errors.New("key is being changed by others")
	// ErrUnavailable says that the broker did not answer. An update may have
	// been stored all the same: publishing the same update again is safe.
	ErrUnavailable = errors.New("broker is not available")
	// ErrNotProvisioned says that the broker has no extsync streams yet.
	ErrNotProvisioned = errors.New("broker is not provisioned for extsync")
)

// A HeadError is a refusal because of what is there already. It wraps ErrStale
// or ErrConflict.
type HeadError struct {
	Reason       error // ErrStale or ErrConflict
	Channel, Key string
	Refused      versioning.Tag
	Head         versioning.Tag     // the newest version there is
	Base         versioning.Version // what the update said it was made from, if it did
}

// Error says what was refused and why.
func (e *HeadError) Error() string {
	prefix := fmt.Sprintf("%v: channel %s, key %s: version %s ", e.Reason, e.Channel, e.Key, e.Refused.Version)
	switch {
	case errors.Is(e.Reason, ErrStale):
		return prefix + "is older than the newest, " + e.Head.Version.String()
	case e.Head.Version == e.Refused.Version:
		return prefix + "exists with other content (digest " + e.Head.Digest.Short() + ", not " + e.Refused.Digest.Short() + ")"
	case e.Head.IsZero():
		return prefix + "was made from version " + e.Base.String() + ", but the key has no version yet"
	default:
		return prefix + "was made from version " + e.Base.String() + ", but the newest is " + e.Head.Version.String()
	}
}

// Unwrap returns the reason.
func (e *HeadError) Unwrap() error { return e.Reason }

// unavailable marks err as ErrUnavailable if it says that nobody answered.
func unavailable(err error) error {
	if IsUnavailable(err) && !errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// IsUnavailable reports whether err says that the broker, or the stream's
// leader, did not answer or could not decide: the same request may be made again.
func IsUnavailable(err error) bool {
	for _, target := range []error{
		ErrUnavailable, context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected,
		nats.ErrConnectionClosed, nats.ErrConnectionReconnecting, nats.ErrNoServers, nats.ErrReconnectBufExceeded,
		nats.ErrStaleConnection, jetstream.ErrNoStreamResponse, jetstream.ErrAsyncPublishTimeout,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	m := MeaningOf(err)
	return m == Unavailable || m == Repeat
}
