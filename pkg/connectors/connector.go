// Package connectors is the contract between the delivery engine and the code
// that writes to one kind of external system.
package connectors

import (
	"context"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// An Attempt is one try to bring one update to the target.
type Attempt struct {
	// Update is what to write. Its payload is what the target shall get, after
	// the channel's mapping if it has one; its other fields are as published.
	events.Update
	// Digest is that of the update as it was published, before any mapping. A
	// target that can keep it does, so that two contents of one version can be
	// told apart there.
	Digest versioning.Digest
	// Number counts the tries of this update, from 1. A new owner knows of those that
	// count against the update only.
	Number int
	// Again marks a deliberate second delivery (replay, resync): an equal
	// version at the target is to be written again.
	Again bool
}

// A Connector writes updates to one external system.
//
// Apply makes one attempt for each element and reports exactly one result for
// each, in order. It may be called again with the same update: writing the same
// version twice must do no harm. It may be called concurrently, but never for
// the same key. It never retries, sleeps, logs a payload or reorders, and
// returns soon after ctx ends, with a Transient result for what it does not know
// to be written. It does not keep the attempts or their payloads after it
// returned. Unless the connector is a Batcher it gets one attempt at a time.
//
// Close releases what the connector holds. It is called once, after the last
// Apply has returned.
type Connector interface {
	Apply(ctx context.Context, attempts []Attempt) []Result
	Close(ctx context.Context) error
}

// A Batcher takes more than one attempt in one Apply. One key is never twice in
// a batch. MaxBatch returns the largest number it takes, at least 1, always the
// same.
type Batcher interface {
	MaxBatch() int
}

// A Prober can tell whether the target is there and would let us in, without
// writing anything. nil means yes. The error is a *Error where the cause is
// known.
type Prober interface {
	Probe(ctx context.Context) error
}

// A Reader can tell what the target holds of some keys. The answer has one
// element for each key, in order; the zero Held stands for a key that the target
// does not have.
type Reader interface {
	Read(ctx context.Context, keys []string) ([]Held, error)
}

// A Lister can go through the keys that the target holds. List returns the next
// keys behind one of them, "" for the first, in an order that is always the same:
// limit of them, or fewer at the end. Keys of deleted entities may be among them.
type Lister interface {
	List(ctx context.Context, after string, limit int) ([]string, error)
}

// Held is what the target holds of one key. Digest is zero where the target does
// not keep it.
type Held struct {
	versioning.Tag
	Op events.Op
}
