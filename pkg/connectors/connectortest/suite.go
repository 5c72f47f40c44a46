package connectortest

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/conformance"
	"github.com/hms-utl/extsync/pkg/events"
)

// Run runs every case of the suite that the target's capabilities allow, each as
// a subtest.
func Run(t *testing.T, target Target) {
	t.Helper()
	if target.Open == nil || target.Read == nil {
		t.Fatal("Target.Open and Target.Read are required")
	}
	suite := target.suite()
	suite.Check(tester{t})
	for _, c := range conformance.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			// The options see what runs now, so only what the case starts counts.
			leaks := []goleak.Option{goleak.IgnoreCurrent()}
			for _, name := range target.OwnGoroutines {
				leaks = append(leaks, goleak.IgnoreAnyFunction(name))
			}
			c.Run(tester{t}, suite)
			if !t.Failed() {
				goleak.VerifyNone(t, leaks...)
			}
		})
	}
}

// A tester runs a case as a test.
type tester struct{ *testing.T }

func (t tester) Run(name string, f func(conformance.T)) bool {
	return t.T.Run(name, func(t *testing.T) { f(tester{t}) })
}

func (t tester) NotApplicable(why string) {
	t.Helper()
	t.Log("does not apply to this target: " + why)
}

// test returns the test that runs a case.
func test(t conformance.T) *testing.T { return t.(tester).T } // Run gives nothing else

// suite returns the target as the suite takes it.
func (t Target) suite() conformance.Target {
	out := conformance.Target{
		Open:    func(r conformance.T) *connectors.Opened { return t.Open(test(r)) },
		Read:    func(r conformance.T, keys ...string) map[string]connectors.Held { return t.Read(test(r), keys...) },
		Guarded: t.Guarded, Ordered: t.Ordered, KeepsDigest: t.KeepsDigest, Tombstones: t.Tombstones, Times: t.Times, Slow: t.Slow,
		Payload: t.Payload, BadUpdate: t.BadUpdate, Secrets: t.Secrets,
	}
	if t.Writes != nil {
		out.Writes = func(r conformance.T, key string) int { return t.Writes(test(r), key) }
	}
	if t.Objects != nil {
		out.Objects = func(r conformance.T, key string) int { return t.Objects(test(r), key) }
	}
	if t.Cut != nil {
		out.Cut = func(r conformance.T) { t.Cut(test(r)) }
	}
	if t.Restore != nil {
		out.Restore = func(r conformance.T) { t.Restore(test(r)) }
	}
	if t.LoseAnswer != nil {
		out.LoseAnswer = func(r conformance.T) func() { return t.LoseAnswer(test(r)) }
	}
	if t.Hang != nil {
		out.Hang = func(r conformance.T, key string) func() { return t.Hang(test(r), key) }
	}
	for _, f := range t.Faults {
		fault := conformance.Fault{Name: f.Name, Want: f.Want, Code: f.Code, Broken: f.Broken}
		if f.Arm != nil {
			fault.Arm = func(r conformance.T, u *events.Update) func() { return f.Arm(test(r), u) }
		}
		out.Faults = append(out.Faults, fault)
	}
	return out
}
