package connectortest

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Run runs every case of the suite that the target's capabilities allow, each as
// a subtest.
func Run(t *testing.T, target Target) {
	t.Helper()
	target.check(t)
	for _, c := range []struct {
		name string
		run  func(*run)
	}{
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
	} {
		t.Run(c.name, func(t *testing.T) {
			// The options see what runs now, so only what the case starts counts.
			leaks := []goleak.Option{goleak.IgnoreCurrent()}
			for _, name := range target.OwnGoroutines {
				leaks = append(leaks, goleak.IgnoreAnyFunction(name))
			}
			r := &run{T: t, Target: target, prefix: fmt.Sprintf("%x-", hash(c.name))}
			func() {
				defer r.closeAll() // also when the case ends early by t.Fatal
				c.run(r)
			}()
			if !t.Failed() {
				goleak.VerifyNone(t, leaks...)
			}
		})
	}
}

// check refuses a Target that contradicts itself.
func (t Target) check(tb *testing.T) {
	tb.Helper()
	switch {
	case t.Open == nil || t.Read == nil:
		tb.Fatal("Target.Open and Target.Read are required")
	case (t.KeepsDigest || t.Tombstones) && !t.Guarded:
		tb.Fatal("Target.KeepsDigest and Target.Tombstones need Target.Guarded")
	case (t.Cut == nil) != (t.Restore == nil):
		tb.Fatal("Target.Cut and Target.Restore go together")
	}
	for _, f := range t.Faults {
		if f.Name == "" || f.Arm == nil {
			tb.Fatalf("fault %q has no name or no Arm", f.Name)
		}
	}
}

// run is one case on its way.
type run struct {
	*testing.T
	Target
	prefix string // of every key of the case
	opened []*connectors.Opened
}

// notApplicable says why a case, or a part of it, asks nothing of this target.
func (r *run) notApplicable(why string) {
	r.Helper()
	r.Log("does not apply to this target: " + why)
}
