package gate

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// clockGate is a gate with a clock of its own.
type clockGate struct {
	*Gate
	t     *testing.T
	at    time.Time
	stand map[string]Standing
	fresh bool // there is a key that has not failed
	keys  int
}

// key returns one that nobody has seen.
func (g *clockGate) key() string {
	g.keys++
	return fmt.Sprint("key", g.keys)
}

// others has the gate meet other keys, so that one that fails is not everybody.
func (g *clockGate) others() {
	g.report("healthy", connectors.Done(), false)
	g.report("other healthy", connectors.Done(), false)
	g.at = g.at.Add(quiet)
}

// report reports the result of a key, and returns whether it counts.
func (g *clockGate) report(key string, res connectors.Result, probe bool) bool {
	v := g.Report(key, g.stand[key], res, probe)
	g.stand[key] = v.Standing
	return v.Counts
}

func (g *clockGate) admit(want int) (n int, probe bool, wait time.Duration) {
	return g.Admit(want, func() bool { return g.fresh })
}

func newClockGate(t *testing.T) *clockGate {
	g := &clockGate{t: t, at: time.Unix(1_000_000, 0), stand: map[string]Standing{}}
	g.Gate = New(Options{Log: zerolog.Nop(), Patience: time.Minute, Now: func() time.Time { return g.at }})
	return g
}

func failed(class connectors.Class) connectors.Result {
	return connectors.Failed(class, "x", errors.New("because"))
}

// wait returns how long nothing is admitted from now on.
func (g *clockGate) wait() time.Duration { return max(0, later(g.until, g.hold).Sub(g.at)) }

func (g *clockGate) wantState(want State) {
	g.t.Helper()
	if g.state != want {
		g.t.Fatalf("gate is %s, not %s", g.state, want)
	}
}

// probe lets the time pass until a probe is due and takes it.
func (g *clockGate) probe() {
	g.t.Helper()
	g.at = g.at.Add(g.wait())
	if n, probe, _ := g.admit(10); n != 1 || !probe {
		g.t.Fatalf("admitted %d, probe %v", n, probe)
	}
}

// open makes the circuit open by failures of different keys.
func (g *clockGate) open() {
	g.t.Helper()
	g.at = g.at.Add(quiet)
	for range OpenAfter {
		g.report(g.key(), failed(connectors.Transient), false)
	}
	g.wantState(Open)
}

func TestGateOpensAfterFiveFailuresOfTwoKeys(t *testing.T) {
	g := newClockGate(t)
	g.others()
	for range 100 { // one key that fails alone never opens it, and is not known to be at fault
		if counts := g.report("poison", failed(connectors.Transient), false); counts {
			t.Fatal("a failure counts although nobody got through since")
		}
	}
	g.wantState(Closed)
	if counts := g.report("other", failed(connectors.Transient), false); counts {
		t.Fatal("the failure that opens the circuit counts")
	}
	g.wantState(Open)
	if counts := g.report("third", failed(connectors.Transient), false); counts {
		t.Fatal("a failure while the circuit is open counts against the update")
	}

	g = newClockGate(t)
	for i := range 4 * OpenAfter { // a success in between starts the row anew
		if i%OpenAfter == OpenAfter-1 {
			g.report("k", connectors.Done(), false)
		} else {
			g.report(g.key(), failed(connectors.Transient), false)
		}
	}
	g.wantState(Closed)
}

// changeWatcher is told of changes of a gate's state.
type changeWatcher chan struct{}

func (w changeWatcher) GateChanged() {
	select {
	case w <- struct{}{}:
	default:
	}
}
func (changeWatcher) GateFreed(time.Duration) {}
func (changeWatcher) GateHurried()            {}
func (changeWatcher) GateMoved()              {}

// Nothing else has a partition that rests write what operators see.
func TestChangesOfTheStateWakeThoseWhoShowIt(t *testing.T) {
	g := newClockGate(t)
	w := make(changeWatcher, 1)
	woken := func(want bool, when string) {
		t.Helper()
		select {
		case <-w:
			if !want {
				t.Fatal("woken", when)
			}
		default:
			if want {
				t.Fatal("not woken", when)
			}
		}
	}
	g.Watch(w)
	woken(true, "for the state that it found")
	g.report("k", connectors.Done(), false)
	woken(false, "by a success among others")
	g.open()
	woken(true, "when the circuit opened")
	g.probe()
	g.report("k", failed(connectors.Transient), true)
	woken(true, "by a probe in vain: the next one is shown")
	g.probe()
	g.report("k", failed(connectors.Misconfigured), true)
	woken(true, "when the channel was blocked")
	g.probe()
	g.report("k", connectors.Done(), true)
	woken(true, "when the target was back")
	g.Unwatch(w)
	g.open()
	woken(false, "after it had left")
}

// Where every tenth key always failed, retries that came due together opened the
// circuit, and probes of the same keys kept it open for minutes.
func TestFailuresInARowDoNotOpenTheCircuitWhileOthersGetThrough(t *testing.T) {
	g := newClockGate(t)
	for i := range 1000 {
		g.report("healthy", connectors.Done(), false)
		for range 2 * OpenAfter {
			g.report(g.key(), failed(connectors.Transient), false)
		}
		g.at = g.at.Add(quiet - time.Nanosecond)
		g.wantState(Closed)
		if i%2 == 0 {
			g.report(g.key(), failed(connectors.Transient), false)
			g.wantState(Closed)
		}
	}
	g.at = g.at.Add(time.Nanosecond)
	g.report(g.key(), failed(connectors.Transient), false)
	g.wantState(Open)
}

func TestGateLetsOneProbeThroughAtATime(t *testing.T) {
	g := newClockGate(t)
	g.open()
	if n, _, wait := g.admit(10); n != 0 || wait <= 0 {
		t.Fatalf("before its time: %d, %s", n, wait)
	}
	g.probe()
	for range 3 {
		if n, probe, wait := g.admit(10); n != 0 || probe || wait != g.o.Patience {
			t.Fatalf("a second probe: %d, %v, %s", n, probe, wait)
		}
	}
	g.Withdraw(true) // it made no call: another one may
	g.probe()
	g.report("k", failed(connectors.Transient), true)
	if g.wait() <= 0 {
		t.Fatal("the next probe does not wait")
	}
}

func TestGateProbesMoreAndMoreRarely(t *testing.T) {
	tests := []struct {
		name        string
		class       connectors.Class
		first, most time.Duration
	}{
		{"open", connectors.Transient, openProbeFirst, openProbeMost},
		{"blocked", connectors.Misconfigured, blockedProbeFirst, blockedProbeMost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newClockGate(t)
			for k := range OpenAfter {
				g.report(fmt.Sprint("k", k), failed(tt.class), false)
			}
			for i := range 12 {
				middle := min(tt.first<<i, tt.most*2/3) // its jitter ends at most
				if wait := g.wait(); wait < middle/2 || wait > middle*3/2 {
					t.Fatalf("probe %d waits %s, not about %s", i, wait, middle)
				}
				g.probe()
				g.report("k", failed(tt.class), true)
			}
		})
	}
}

func TestLateFailuresOfCallsInFlightDoNotPutProbesOff(t *testing.T) {
	for _, class := range []connectors.Class{connectors.Transient, connectors.Permanent, connectors.Misconfigured} {
		for _, state := range []State{Open, Blocked} {
			if class == connectors.Misconfigured && state == Open {
				continue // that blocks
			}
			t.Run(class.String()+" while "+state.String(), func(t *testing.T) {
				g := newClockGate(t)
				g.open()
				if state == Blocked {
					g.report("k", failed(connectors.Misconfigured), false)
				}
				until := g.until
				g.at = g.at.Add(time.Millisecond)
				for k := range 50 {
					if g.report(fmt.Sprint("k", k), failed(class), false) {
						t.Fatal("it counts against the update")
					}
				}
				g.wantState(state)
				if !g.until.Equal(until) {
					t.Fatalf("the next probe was moved by %s", g.until.Sub(until))
				}
			})
		}
	}
}

func TestGateTakesAnyAnswerAsASignOfLife(t *testing.T) {
	for _, class := range []connectors.Class{connectors.OK, connectors.Stale, connectors.Conflict, connectors.Permanent} {
		g := newClockGate(t)
		g.open()
		g.probe()
		g.report("k", failed(class), true)
		g.wantState(Closed)
	}
}

func TestMisconfiguredBlocksAtOnce(t *testing.T) {
	g := newClockGate(t)
	if g.report("k", failed(connectors.Misconfigured), false); g.wait() < blockedProbeFirst/2 {
		t.Fatalf("waits %s", g.wait())
	}
	g.wantState(Blocked)
	if state, since, reason := g.Status(); state != "blocked" || !since.Equal(g.at) || reason != "because" {
		t.Fatalf("status %q since %s because %q", state, since, reason)
	}
	g.probe()
	g.report("k", connectors.Done(), true)
	g.wantState(Closed)
	if _, _, reason := g.Status(); reason != "" {
		t.Fatalf("reason %q after recovery", reason)
	}
}

func TestTwentyPermanentFailuresInARowBlock(t *testing.T) {
	g := newClockGate(t)
	for i := range blockAfter - 1 {
		if !g.report("k", failed(connectors.Permanent), false) {
			t.Fatalf("failure %d does not count", i+1)
		}
	}
	g.wantState(Closed)
	g.report("k", connectors.Done(), false)
	for range blockAfter - 1 {
		g.report("k", failed(connectors.Permanent), false)
	}
	g.wantState(Closed)
	if g.report("k", failed(connectors.Permanent), false) {
		t.Fatal("the failure that blocks the channel counts against its update")
	}
	g.wantState(Blocked)
	g.probe()
	g.report("k", failed(connectors.Permanent), true)
	g.wantState(Blocked)
}

// A refusal of one update shows that the credentials work again. It must not
// keep a channel blocked for ever whose only update it is.
func TestRefusedProbeLiftsABlockForMisconfiguration(t *testing.T) {
	g := newClockGate(t)
	g.report("k", failed(connectors.Misconfigured), false)
	g.probe()
	if g.report("k", failed(connectors.Permanent), true) {
		t.Fatal("the probe's failure counts against its update")
	}
	g.wantState(Closed)
}

func TestThrottledWaitsAsLongAsAsked(t *testing.T) {
	tests := []struct {
		name        string
		asked, want time.Duration
	}{
		{"not said", 0, throttleDefault},
		{"said", 7 * time.Second, 7 * time.Second},
		{"a day", 24 * time.Hour, 24 * time.Hour},
		{"nonsense", -time.Hour, throttleDefault},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newClockGate(t)
			res := failed(connectors.Throttled)
			res.RetryAfter = tt.asked
			g.report("k", res, false)
			g.wantState(Closed)
			if g.wait() != tt.want {
				t.Fatalf("waits %s, not %s", g.wait(), tt.want)
			}
			if n, _, wait := g.admit(10); n != 0 || wait != tt.want {
				t.Fatalf("admitted %d, wait %s", n, wait)
			}
			g.at = g.at.Add(tt.want)
			if n, probe, _ := g.admit(10); n != 10 || probe {
				t.Fatalf("afterwards: admitted %d, probe %v", n, probe)
			}
		})
	}
}

// Several calls in flight are throttled; what the last of them asks for must not
// cut short what an earlier one did.
func TestLateThrottledAnswerDoesNotShortenTheWait(t *testing.T) {
	g := newClockGate(t)
	res := failed(connectors.Throttled)
	res.RetryAfter = time.Minute
	g.report("a", res, false)
	g.report("b", failed(connectors.Throttled), false)
	if g.wait() != time.Minute {
		t.Fatalf("waits %s", g.wait())
	}
	g.Hold(time.Second)
	if g.wait() != time.Minute {
		t.Fatalf("after hold: %s", g.wait())
	}
	g.Hold(time.Hour)
	if g.wait() != time.Hour {
		t.Fatalf("after a longer hold: %s", g.wait())
	}
}

// A target that is back is not left waiting: whatever came before, the next probe of an
// open circuit is never further away than openProbeMost.
func TestProbesAreNeverFurtherApartThanTenSeconds(t *testing.T) {
	g := newClockGate(t)
	g.open()
	for range 200 {
		if wait := g.wait(); wait > openProbeMost {
			t.Fatalf("the next probe is %s away", wait)
		}
		g.probe()
		g.report("k", failed(connectors.Transient), true)
	}
	if got := g.NextProbe(); !got.After(g.at) || got.After(g.at.Add(openProbeMost)) {
		t.Fatalf("the next probe is said to be at %s, and it is %s", got, g.at)
	}
}

// Where nobody listens the target is to blame, however few keys there are: the retries
// of a single one would be minutes apart, and spend its attempts.
func TestOneKeyOpensTheCircuitWhereNobodyIsThere(t *testing.T) {
	refused := connectors.Failed(connectors.Transient, connectors.CodeRefused, errors.New("connection refused"))
	g := newClockGate(t)
	g.others()
	for range OpenAfter - 1 {
		g.report("k", refused, false)
	}
	g.report("k", failed(connectors.Transient), false) // an answer starts the row anew
	for range OpenAfter - 1 {
		g.report("k", refused, false)
	}
	g.wantState(Closed)
	g.report("k", refused, false)
	g.wantState(Open)
}

// An operator who has put the target right does not wait for the next probe.
func TestHurry(t *testing.T) {
	g := newClockGate(t)
	select {
	case <-g.Hurry():
	default:
		t.Fatal("a closed circuit has nothing to wait for")
	}
	g.open()
	done := g.Hurry()
	if n, probe, _ := g.admit(10); n != 1 || !probe {
		t.Fatalf("admitted %d, probe %v", n, probe)
	}
	if !g.NextProbe().IsZero() {
		t.Error("a probe is on its way, and another one is promised")
	}
	select {
	case <-done:
		t.Fatal("done before the probe was reported")
	default:
	}
	g.report("k", connectors.Done(), true)
	<-done
	g.wantState(Closed)
}

// A call from before the circuit opened succeeds and closes it while a probe is on its
// way. The probe fails: of one key, that says nothing. It held all calls back for up to
// a minute, and the reason was of something else.
func TestProbeThatIsLateHoldsNothingBack(t *testing.T) {
	for _, class := range []connectors.Class{connectors.Transient, connectors.Permanent} {
		g := newClockGate(t)
		g.open()
		for range 4 { // some probes fail: they are far apart by now
			g.probe()
			g.report("p", failed(connectors.Transient), true)
		}
		g.probe() // on its way
		g.report("early", connectors.Done(), false)
		g.wantState(Closed)
		g.report("p", failed(class), true)
		g.wantState(Closed)
		if n, _, wait := g.admit(10); n != 10 {
			t.Errorf("after a late probe that is %s %d are admitted, and none for %s; want all", class, n, wait)
		}
	}
}

// What the target says at a probe replaces what it said before; that it cannot be
// reached is no reason for a channel that is blocked.
func TestReasonFollowsTheProbes(t *testing.T) {
	say := func(class connectors.Class, text string) connectors.Result {
		return connectors.Failed(class, "x", errors.New(text))
	}
	g := newClockGate(t)
	g.o.Hint = "restart it"
	g.report("k", say(connectors.Misconfigured, "401"), false)
	for _, step := range []struct {
		res  connectors.Result
		want string
	}{
		{say(connectors.Transient, "nobody there"), "401 (restart it)"},
		{say(connectors.Misconfigured, "403"), "403 (restart it)"},
	} {
		g.probe()
		g.report("k", step.res, true)
		if _, _, reason := g.Status(); reason != step.want {
			t.Errorf("reason %q, want %q", reason, step.want)
		}
	}
}
