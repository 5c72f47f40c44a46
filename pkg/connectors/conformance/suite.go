// Package conformance is the suite that every connector passes on the real system before
// the engine may rely on it: its cases, for whatever runs them. Tests in Go run them by
// connectortest, 'extsync connector test' runs them on a plugin.
//
// What a target cannot promise is declared in the Target. A case that does not apply says
// so; none is left out in silence.
package conformance

import (
	"context"
	"fmt"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A T is what runs a case: *testing.T, but for NotApplicable, or a recorder. Its methods do
// what those of *testing.T do, and may be called by several at once.
type T interface {
	Helper()
	Context() context.Context
	Log(args ...any)
	Logf(format string, args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	// Fatal and Fatalf end the case, and are for its own goroutine.
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	// Run runs a part of the case.
	Run(name string, f func(T)) bool
	// NotApplicable notes why the case, or a part of it, asks nothing of the target.
	NotApplicable(why string)
}

// A Case is one of the suite.
type Case struct {
	Name string
	run  func(*run)
}

// Cases returns the cases in the order in which they are run.
func Cases() []Case {
	return []Case{
		{"declared", declared},
		{"no attempts", noAttempts},
		{"fresh", fresh},
		{"same again", sameAgain},
		{"older after newer", olderAfterNewer},
		{"same version with other content", otherContent},
		{"times as versions", times},
		{"odd keys", oddKeys},
		{"tombstone then late upsert", lateUpsert},
		{"tombstone of an unknown key", tombstoneOfUnknown},
		{"upsert after tombstone", upsertAfterTombstone},
		{"batch", wholeBatch},
		{"one bad update in a batch", oneBadInBatch},
		{"parallel writers, a key each", parallelKeys},
		{"parallel writers, the same keys", sameKeys},
		{"guard in a race", raced},
		{"cancelled before the call", cancelledBefore},
		{"cancelled during the call", cancelledDuring},
		{"target unreachable", unreachable},
		{"answer lost after the write", answerLost},
		{"faults", faults},
		{"read", reads},
		{"fetched", fetches},
		{"remembered", remembers},
		{"list", lists},
	}
}

// Run runs the case against a target, and closes what it has opened.
func (c Case) Run(t T, target Target) {
	r := &run{T: t, Target: target, prefix: target.Prefix + fmt.Sprintf("%x-", hash(c.Name))}
	defer r.closeAll() // also when the case ends early by t.Fatal
	c.run(r)
}

// Check refuses a Target that contradicts itself.
func (t Target) Check(tb T) {
	tb.Helper()
	switch {
	case t.Open == nil:
		tb.Fatal("Target.Open is required")
	case (t.KeepsDigest || t.Tombstones) && !t.refuses():
		tb.Fatal("Target.KeepsDigest and Target.Tombstones need Target.Guarded or Target.Ordered")
	case (t.Cut == nil) != (t.Restore == nil):
		tb.Fatal("Target.Cut and Target.Restore go together")
	}
	for _, f := range t.Faults {
		if f.Name == "" || f.Arm == nil {
			tb.Fatalf("fault %q has no name or no Arm", f.Name)
		}
	}
}

// refuses reports whether an older version is refused where nobody else writes.
func (t *Target) refuses() bool { return t.Guarded || t.Ordered }

// run is one case on its way.
type run struct {
	T
	Target
	prefix string // of every key of the case
	opened []*connectors.Opened
	memory memory
}

// holds returns what the target holds of keys, nothing if nobody can tell.
func (r *run) holds(keys ...string) map[string]connectors.Held {
	r.Helper()
	if r.Read == nil {
		return nil
	}
	return r.Read(r.T, keys...)
}
