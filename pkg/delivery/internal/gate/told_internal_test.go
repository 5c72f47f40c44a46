package gate

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/why"
)

// An update that the mapping cannot map has not met the target: it closed the circuit
// of a target that was down, and unblocked a channel whose credentials are refused.
func TestFailureWithoutACallIsNoSignOfLife(t *testing.T) {
	unasked := connectors.Unasked("mapping_failed", errors.New("no"))
	for _, state := range []State{Open, Blocked} {
		g := newClockGate(t)
		g.open()
		if state == Blocked {
			g.report("k", failed(connectors.Misconfigured), false)
		}
		g.wantState(state)
		g.probe()
		if !g.Freshen() || g.Freshen() {
			t.Errorf("%s: the connector is not opened anew once for the probe that is due", state)
		}
		if counts := g.report("k", unasked, true); !counts {
			t.Errorf("%s: the failure is the update's own, and does not count", state)
		}
		g.wantState(state)
		if n, probe, wait := g.admit(10); n != 1 || !probe {
			t.Errorf("%s: %d admitted, probe %v, wait %s; want another update to be the probe at once", state, n, probe, wait)
		}
		if g.Freshen() {
			t.Errorf("%s: the connector is opened anew for each update that is no probe", state)
		}
	}
}

// Twenty of them in a row are the configuration's fault, whether the target is there or
// not: the others must not become dead letters for it.
func TestFailuresWithoutACallBlockTheChannel(t *testing.T) {
	unasked := connectors.Unasked("mapping_failed", errors.New("no"))
	for _, down := range []bool{false, true} {
		g := newClockGate(t)
		if down {
			g.open()
		}
		for i := range blockAfter {
			if down {
				g.probe()
			}
			counts := g.report(fmt.Sprint("k", i), unasked, down)
			if last := i == blockAfter-1; counts == last {
				t.Errorf("down %v: failure %d counts: %v, want %v", down, i, counts, !last)
			}
		}
		g.wantState(Blocked)
		g.probe()
		if counts := g.report("k", unasked, true); counts {
			t.Errorf("down %v: a failure of a blocked channel counts against its update", down)
		}
		if g.wait() == 0 {
			t.Errorf("down %v: the next probe is not planned", down)
		}
	}
}

// Of one key alone it is not known whether its updates are to blame or the mapping.
func TestFailuresOfOneKeyWithoutACallDoNotBlock(t *testing.T) {
	g := newClockGate(t)
	for range 2 * blockAfter {
		if !g.report("a", connectors.Unasked("mapping_failed", errors.New("no")), false) {
			t.Fatal("a failure of the key's own does not count")
		}
	}
	g.wantState(Closed)
	if g.report("b", connectors.Unasked("mapping_failed", errors.New("no")), false) {
		t.Error("the failure that blocks the channel counts")
	}
	g.wantState(Blocked)
}

// A mapping that takes too much spends its key's attempts, whether the target is there or
// not. It never opens the circuit. Two keys block the channel, unless one is delivered
// in between.
func TestCostlyFailuresBlockWithASecondKey(t *testing.T) {
	costly := connectors.Result{Class: connectors.Transient, Code: "mapping_failed", Err: errors.New("no"), Unasked: true}
	g := newClockGate(t)
	report := func(key string, probe, want bool) {
		t.Helper()
		if got := g.report(key, costly, probe); got != want {
			t.Errorf("a failure of %s counts: %v", key, got)
		}
	}
	g.at = g.at.Add(time.Hour)
	for range 3 * OpenAfter {
		report("a", false, true)
		g.report("ok", connectors.Done(), false)
		report("b", false, true)
		g.report("ok", connectors.Done(), false)
	}
	g.wantState(Closed)
	g.open()
	g.probe()
	report("a", true, true)
	g.wantState(Open)
	g.report("ok", connectors.Done(), false)
	report("a", false, true)
	report("b", false, true)
	report("c", false, true)
	report("c", false, true)
	g.wantState(Closed)
	report("d", false, false)
	g.wantState(Blocked)
	g.probe()
	report("a", true, false)
	if g.wait() == 0 {
		t.Error("the next probe is not planned")
	}
	g.probe()
	g.report("ok", connectors.Done(), true)
	g.wantState(Closed)
}

// A probe that is answered 429 says so: the reason of before stood there for as long as
// the target had asked to wait.
func TestProbeThatIsThrottledSaysSo(t *testing.T) {
	g := newClockGate(t)
	g.open()
	g.probe()
	res := connectors.Failed(connectors.Throttled, "429", errors.New("slow down"))
	res.RetryAfter = 10 * time.Minute
	g.report("p", res, true)
	if _, _, reason := g.Status(); !strings.Contains(reason, "slow down") {
		t.Errorf("reason %q, want what the target said", reason)
	}
}

// A connector hangs in a probe, whatever its context says, and its tenure ends without
// it. No other probe followed.
func TestProbeThatNeverComesBack(t *testing.T) {
	g := newClockGate(t)
	g.open()
	g.probe()
	if n, _, wait := g.admit(10); n != 0 || wait != g.o.Patience {
		t.Errorf("%d admitted, wait %s; want none for %s", n, wait, g.o.Patience)
	}
	g.at = g.at.Add(g.o.Patience)
	if n, probe, _ := g.admit(10); n != 1 || !probe {
		t.Errorf("%d admitted, probe %v; want another probe", n, probe)
	}
}

// TestWhatHoldsAChannel: each way in which the gate holds calls back has its code.
func TestWhatHoldsAChannel(t *testing.T) {
	refused := func(class connectors.Class, code string) connectors.Result {
		return connectors.Failed(class, code, errors.New("it says no"))
	}
	for name, c := range map[string]struct {
		do   func(*clockGate)
		want why.Code
	}{
		"login":     {func(g *clockGate) { g.report("k", refused(connectors.Misconfigured, "401"), false) }, why.CredentialsRefused},
		"SQL login": {func(g *clockGate) { g.report("k", refused(connectors.Misconfigured, "28P01"), false) }, why.CredentialsRefused},
		"table":     {func(g *clockGate) { g.report("k", refused(connectors.Misconfigured, "42P01"), false) }, why.Misconfigured},
		"secret": {func(g *clockGate) {
			g.report("k", connectors.Failed(connectors.Misconfigured, "secret", fmt.Errorf("%w: gone", connectors.ErrSecret)), false)
		}, why.SecretMissing},
		"refusals": {func(g *clockGate) {
			for range blockAfter {
				g.report("k", refused(connectors.Permanent, "422"), false)
			}
		}, why.TargetRefuses},
		"down": {func(g *clockGate) {
			for i := range OpenAfter {
				g.report(fmt.Sprint(i), refused(connectors.Transient, "503"), false)
			}
		}, why.CircuitOpen},
		"throttled": {func(g *clockGate) {
			r := refused(connectors.Throttled, "429")
			r.RetryAfter = time.Minute
			g.report("k", r, false)
		}, why.RateLimited},
		"our side": {func(g *clockGate) { g.Hold(time.Minute) }, why.BrokerRefuses},
	} {
		t.Run(name, func(t *testing.T) {
			g := newClockGate(t)
			if w, held := g.Held(g.at); held {
				t.Fatalf("at first %+v", w)
			}
			c.do(g)
			w, held := g.Held(g.at)
			if !held || w.Code != c.want || w.Message == "" || !w.Next.After(g.at) {
				t.Errorf("%+v, want %s", w, c.want)
			}
			g.report("k", connectors.Done(), true)
			g.at = g.at.Add(time.Minute) // a wait of our own is over
			if w, held := g.Held(g.at); held {
				t.Errorf("afterwards %+v", w)
			}
		})
	}
}

// recorder notes what a gate tells its watchers.
type recorder struct{ moved, freed, hurried int }

func (*recorder) GateChanged()              {}
func (r *recorder) GateFreed(time.Duration) { r.freed++ }
func (r *recorder) GateHurried()            { r.hurried++ }
func (r *recorder) GateMoved()              { r.moved++ }

func TestGateTellsItsWatchers(t *testing.T) {
	g := newClockGate(t)
	w := &recorder{}
	g.Watch(w)
	g.open()
	g.probe()
	g.report("k", failed(connectors.Transient), true)
	if w.moved != 1 || w.freed != 0 {
		t.Fatalf("%+v; a failed probe must wake those who look for the next, and no lane", w)
	}
	g.probe()
	g.report("k", connectors.Done(), true)
	g.wantState(Closed)
	if w.moved != 2 || w.freed != 1 {
		t.Fatalf("%+v; the target is back: lanes that wait must be tried at once", w)
	}
	if n, probe, _ := g.admit(10); n != 10 || probe {
		t.Fatalf("after recovery: %d, %v", n, probe)
	}
	g.Hurry()
	if w.moved != 3 || w.hurried != 1 {
		t.Fatalf("%+v; an operator wants keys that fail to be tried, although calls flow", w)
	}
	g.Unwatch(w)
	g.open()
	g.probe()
	g.Withdraw(true)
	if w.moved != 3 {
		t.Fatal("told after Unwatch")
	}
}

// The next owner goes on counting: a channel that refuses everything gives no more updates up
// because its workers change.
func TestRefusalsOutliveTheirGate(t *testing.T) {
	for was, few := range map[int]int{0: blockAfter - 1, 7: blockAfter - 8, blockAfter - 1: 0, blockAfter: 0, 500: 0} {
		g := newClockGate(t)
		g.Resume(was)
		g.Resume(0) // of another partition, which has not met a refusal
		for i := range few {
			if !g.report(fmt.Sprint("k", i), failed(connectors.Permanent), false) {
				t.Errorf("after %d: failure %d does not count", was, i+1)
			}
		}
		g.wantState(Closed)
		if g.report("last", failed(connectors.Permanent), false) {
			t.Errorf("after %d: the failure that blocks the channel counts against its update", was)
		}
		g.wantState(Blocked)
	}
	g := newClockGate(t)
	g.report("k", connectors.Done(), false)
	if g.Resume(blockAfter); g.Refusals() != 0 {
		t.Errorf("somebody got through here, and %d refusals count", g.Refusals())
	}
}
