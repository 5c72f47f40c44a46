package extsync

import (
	"time"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// What clients take and give. The packages events, channels and versioning describe
// them.
type (
	// An Update is a new version of an entity, or its removal. Channel or Topic, Key,
	// Version and Payload are what it needs.
	Update = events.Update
	// A Receipt says under which ID and Sequence the broker has stored an update;
	// Duplicate says that it had this very update before.
	Receipt = events.Receipt
	// An Ack says what became of an update: its Outcome, when, and why.
	Ack = events.Ack
	// An Outcome is how the delivery of an update ended.
	Outcome = events.Outcome
	// A Refusal says why an update was refused, and which version is the newest.
	Refusal = events.HeadError
	// A Version orders the updates of a key: a number or a point in time.
	Version = versioning.Version
	// A Channel is the way to one target. HTTP and SQL make simple ones.
	Channel = channels.Config
)

// Delete is the Op of an update that removes its entity.
const Delete = events.Delete

// The outcomes.
const (
	Delivered    = events.Delivered
	Superseded   = events.Superseded
	Conflict     = events.Conflict
	DeadLettered = events.DeadLettered
)

// The errors, for errors.Is. Package events describes them.
var (
	ErrStale          = events.ErrStale
	ErrConflict       = events.ErrConflict
	ErrInvalidUpdate  = events.ErrInvalidUpdate
	ErrTooLarge       = events.ErrTooLarge
	ErrUnknownChannel = events.ErrUnknownChannel
	ErrUnknownTopic   = events.ErrUnknownTopic
	ErrReadsTopic     = events.ErrReadsTopic
	ErrChannelDeleted = events.ErrChannelDeleted
	ErrFull           = events.ErrFull
	ErrBrokerFull     = events.ErrBrokerFull
	ErrBusy           = events.ErrBusy
	ErrUnavailable    = events.ErrUnavailable
	ErrNotProvisioned = events.ErrNotProvisioned
	ErrIncarnation    = events.ErrIncarnation
	ErrNoAck          = events.ErrNoAck
	ErrNoOutcome      = events.ErrNoRecord
	ErrName           = events.ErrName
)

// Number returns version n of an entity, which counts from 1. A number below 1 gives
// no version, and an update without one is refused with ErrInvalidUpdate.
func Number(n int64) Version {
	v, _ := versioning.Number(n) // the error's zero Version is what is promised
	return v
}

// Time returns the version of an entity that was changed at t, of the years 1 to 9999.
// Another time gives no version. The updates of a key have numbers or times, not both.
func Time(t time.Time) Version {
	v, _ := versioning.Time(t) // as in Number
	return v
}

// tagOf is a version whose content nobody has asked for.
func tagOf(v Version) versioning.Tag { return versioning.Tag{Version: v} }
