package events

import (
	"errors"
	"fmt"

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
	// ErrUnknownTopic says that the broker has no stream for the topic.
	ErrUnknownTopic = errors.New("unknown topic")
	// ErrReadsTopic says that the channel has no publishers of its own: it reads a topic.
	ErrReadsTopic = errors.New("the channel takes no updates of its own")
	// ErrChannelDeleted says that the channel was deleted and can still be
	// restored.
	ErrChannelDeleted = errors.New("channel is deleted")
	// ErrTooLarge says that an update does not fit into a message.
	ErrTooLarge = errors.New("update is too large")
	// ErrFull says that the stream of the channel or topic has no room.
	ErrFull = errors.New("no room left")
	// ErrBrokerFull says that the broker, or what it gives to the account, has no
	// room: no channel can take anything.
	ErrBrokerFull = errors.New("broker is full")
	// ErrBusy says that other publishers kept changing the same key.
	ErrBusy = errors.New("key is being changed by others")
	// ErrUnavailable says that the broker did not answer. An update may have
	// been stored all the same: publishing the same update again is safe.
	ErrUnavailable = errors.New("broker is not available")
	// ErrIncarnation says that the broker's files were restored since the process started,
	// which has to start anew.
	ErrIncarnation = errors.New("this is not the installation that the process started with")
	// ErrNotProvisioned says that the broker has no extsync streams yet.
	ErrNotProvisioned = errors.New("broker is not provisioned for extsync")
)

// Errors of asking what became of an update.
var (
	// ErrNoRecord says that the ledger has no record of the key, or none with an outcome.
	ErrNoRecord = errors.New("no record of this key")
	// ErrNoAck says that the update is stored, but that its outcome did not come in time.
	ErrNoAck = errors.New("no ack yet")
	// ErrNewerFormat says that a record was written by a newer release.
	ErrNewerFormat = errors.New("record has a newer format")
)

// A HeadError is a refusal because of what is there already. It wraps ErrStale
// or ErrConflict.
type HeadError struct {
	Reason  error  // ErrStale or ErrConflict
	Channel string // or Topic, to which it was published
	Topic   string
	Key     string
	Refused versioning.Tag
	Head    versioning.Tag     // the newest version there is
	Base    versioning.Version // what the update said it was made from, if it did
}

// Error says what was refused and why.
func (e *HeadError) Error() string {
	route := ToChannel(e.Channel)
	if e.Topic != "" {
		route = ToTopic(e.Topic)
	}
	prefix := fmt.Sprintf("%v: %s, key %s: version %s ", e.Reason, route, e.Key, e.Refused.Version)
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
