package conformance

import (
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// What the suite asks of a connector. Open passes them on as connectors.Env.
const (
	// Channel is the channel of every update of the suite.
	Channel = "conformance"
	// Concurrency is the most calls of Apply that the suite has in flight on one
	// connector.
	Concurrency = 8
	// Timeout bounds one call of Apply.
	Timeout = 10 * time.Second
)

// A Target describes one real system, and what a connector to it promises. The
// system is there, empty of the suite's keys, for as long as Run runs; every
// case uses keys of its own. The functions may call t.Fatal and t.Helper; they
// are called from the goroutine of the case only, but for Read, which may be
// called from several.
type Target struct {
	// Open returns a fresh connector to the target, always the same target, as
	// connectors.Open opens it. The suite closes it, and looks for what its kind is declared
	// to do. Required.
	Open func(t T) *connectors.Opened
	// Read returns what the target really holds of these keys, not asking the
	// connector. A key that is not there, or is there no more without a
	// tombstone, is left out. A Held has its digest where KeepsDigest is set; the
	// suite does not look at it elsewhere. It must not fail the case because the target is
	// busy. nil: nobody can tell, and the connector's own answers alone are judged.
	Read func(t T, keys ...string) map[string]connectors.Held

	// Prefix begins the keys of all cases. A target that is not empty of the suite's keys
	// needs another one each time.
	Prefix string

	// Guarded: the target itself refuses a version older than the one it holds,
	// whoever sends it and however many at once (guarantee 2).
	Guarded bool
	// Ordered: an older version is refused as long as writers come one after another, but
	// an older one may win when they meet. Guarded implies it.
	Ordered bool
	// KeepsDigest: the target keeps the digest, so the same version with another
	// content is a Conflict. It needs Guarded or Ordered.
	KeepsDigest bool
	// Tombstones: a deleted key keeps its version (Held with events.Delete), so
	// that a late upsert is stale. Without it a deleted key is gone. It needs
	// Guarded or Ordered.
	Tombstones bool
	// Times: versions may be times, exact to the nanosecond. Numbers always may.
	Times bool

	// Slow: a write takes the target itself much of a processor. The cases in which writers
	// meet then have 12 keys, not 50.
	Slow bool

	// Payload returns a payload that the target takes and that contains text,
	// which is made of letters, digits and '-', at most 64 bytes. nil: a JSON
	// object with the one field "text".
	Payload func(text string) []byte
	// BadUpdate changes an update that the target takes into one that it refuses
	// for good, leaving key and version as they are. nil: there is no such
	// update.
	BadUpdate func(u *events.Update)
	// Writes returns how many calls of Apply took effect at the target for this
	// key. nil: the target cannot tell.
	Writes func(t T, key string) int

	// Objects returns how many objects the target has of a key. A connector that is declared
	// to remember is held to one. nil: nobody can tell.
	Objects func(t T, key string) int

	// Cut makes the target unreachable: its connections break and new ones are
	// refused. Restore brings it back, with what it held. Both or neither.
	Cut, Restore func(t T)
	// LoseAnswer arranges that the next call of Apply is carried out by the
	// target and the connection is then cut before the answer. It returns what
	// makes the target well again. nil: not possible.
	LoseAnswer func(t T) (restore func())
	// Hang arranges that the target does not answer a write of this key until
	// release is called. nil: not possible.
	Hang func(t T, key string) (release func())
	// Faults are failures of the target and the class that each must give.
	Faults []Fault

	// Secrets are texts that must appear in no error and no excerpt: passwords,
	// tokens, keys, in each form in which they could show.
	Secrets []string
}

// A Fault is one way in which a target fails.
type Fault struct {
	// Name names the case, such as "503" or "missing table".
	Name string
	// Want is the class of the result while the fault is there.
	Want connectors.Class
	// Code is the code of the result, "" for any that is not empty.
	Code string
	// Arm brings the fault about, for a write of u; it may change all of u but
	// key and version. restore takes it away.
	Arm func(t T, u *events.Update) (restore func())
	// Broken says that the same update is not applied by a second attempt after
	// restore, as it is the update that is at fault.
	Broken bool
}
