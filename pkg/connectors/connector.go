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
	// Refs are what earlier answers for the key gave (Result.Remember); nil if there is
	// nothing. They are not to be changed.
	Refs Refs
	// Unsure says that a call for the key may have been made whose answer nobody knows: the
	// target may hold something of the key that Refs do not tell of. A connector that
	// creates what it has no id of looks for it first.
	Unsure bool
	// Held says that an upsert of the key was delivered last: the target holds it, as far as
	// the ledger knows.
	Held bool
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

// A Comparer can tell whether the target still holds what attempts have written: somebody may
// have changed the content there and left the version. The answer has one element for each
// attempt, in order. Nothing is written.
type Comparer interface {
	Compare(ctx context.Context, attempts []Attempt) ([]Comparison, error)
}

// A Comparison is what the target holds in the place of one attempt.
type Comparison struct {
	// Held is that of a Reader.
	Held
	// Changed names the parts of the content that are not what the attempt writes, such as
	// columns; empty if all are. It says nothing if Held is of another version. If Held is
	// zero, it names the parts of a row that has no version, and that a delete was to remove.
	Changed []string
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
