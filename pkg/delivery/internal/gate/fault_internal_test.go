package gate

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A key that keeps failing although another got through is a suspect: what it spends
// counts, and it holds nobody up, however many such keys there are.
func TestSuspectsFailForThemselves(t *testing.T) {
	for _, class := range []connectors.Class{connectors.Transient, connectors.Misconfigured, connectors.Throttled} {
		t.Run(class.String(), func(t *testing.T) {
			g := newClockGate(t)
			g.others()
			poison := []string{"a", "b", "c"}
			for range OpenAfter {
				for _, key := range poison {
					if g.report(key, failed(class), false) {
						t.Fatal("a failure counts although nobody got through since")
					}
				}
			}
			if v := g.Report("a", g.stand["a"], failed(class), false); !v.Shut {
				t.Fatal("three keys fail, nobody gets through, and the channel does not wait")
			}
			g.report("healthy", connectors.Done(), false)
			g.wantState(Closed)
			g.at = g.at.Add(time.Hour)
			for range 100 {
				for _, key := range poison {
					v := g.Report(key, g.stand[key], failed(class), false)
					if !v.Counts || v.Shut {
						t.Fatalf("%+v; want it to be the suspect's own", v)
					}
				}
			}
			if n, _, _ := g.admit(10); n == 0 {
				t.Error("suspects hold the channel up")
			}
			g.report("a", connectors.Done(), false)
			if g.report("a", failed(class), false) {
				t.Error("it got through, and its next failure counts at once")
			}
		})
	}
}

// While the channel waits, a key that has not failed is tried at once: it alone can tell
// whether somebody gets through. Those that fail then come further and further apart.
func TestKeyThatHasNotFailedIsTriedAtOnce(t *testing.T) {
	throttled := failed(connectors.Throttled)
	throttled.RetryAfter = time.Hour
	for name, shut := range map[string]func(g *clockGate){
		"open": func(g *clockGate) { g.open() },
		"blocked": func(g *clockGate) {
			g.report("k", failed(connectors.Misconfigured), false)
			g.wantState(Blocked)
		},
		"throttled": func(g *clockGate) { g.report("k", throttled, false) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newClockGate(t)
			shut(g)
			for range 20 { // the probes are far apart by now
				g.at = g.at.Add(g.wait())
				if _, probe, _ := g.admit(10); probe {
					g.report("k", failed(connectors.Misconfigured), true)
				} else {
					g.report("k", throttled, false)
				}
			}
			if n, _, _ := g.admit(10); n != 0 {
				t.Fatal("a key that fails is tried before its time")
			}
			g.fresh = true
			var last time.Duration
			for i := range 8 {
				due := g.until
				if n, probe, wait := g.admit(10); n != 1 || !probe {
					t.Fatalf("try %d: %d admitted, probe %v, wait %s", i, n, probe, wait)
				}
				if n, _, _ := g.admit(10); n != 0 {
					t.Fatal("two are tried at once")
				}
				g.report(g.key(), failed(connectors.Transient), true)
				if !g.until.Equal(due) {
					t.Fatal("it put the next probe off")
				}
				n, _, wait := g.admit(10)
				if n != 0 || wait < last || wait > blockedProbeMost {
					t.Fatalf("after try %d: %d admitted, wait %s after %s", i, n, wait, last)
				}
				if g.until.Sub(g.at) < 2*wait {
					break // the probe is due first
				}
				last = wait
				g.at = g.at.Add(wait)
			}
			g.at = g.at.Add(g.wait() / 2)
			g.fresh = true
			if n, probe, wait := g.admit(10); n != 1 || !probe {
				g.at = g.at.Add(wait)
				if n, probe, _ = g.admit(10); n != 1 || !probe {
					t.Fatal("no key is tried any more")
				}
			}
			g.report(g.key(), connectors.Done(), true)
			g.wantState(Closed)
			if n, probe, wait := g.admit(10); n == 0 || probe {
				t.Fatalf("one got through: %d admitted, probe %v, wait %s", n, probe, wait)
			}
		})
	}
}

// Where a worker has met one key only, that one is everybody.
func TestOneKeyIsEverybodyWhereThereIsNoOther(t *testing.T) {
	g := newClockGate(t)
	for range OpenAfter {
		g.wantState(Closed)
		if g.report("only", failed(connectors.Transient), false) {
			t.Fatal("it counts")
		}
	}
	g.wantState(Open)
	g = newClockGate(t)
	g.report("only", failed(connectors.Misconfigured), false)
	g.wantState(Blocked)
	g = newClockGate(t)
	g.others()
	for range 3 {
		if v := g.Report("only", g.stand["only"], failed(connectors.Misconfigured), false); v.Counts || v.Shut {
			t.Fatalf("%+v; want the first offender to wait alone", v)
		}
	}
	g.report("second", failed(connectors.Misconfigured), false)
	g.wantState(Blocked)
}

// Who reads the status learns that nobody gets through, since when, and which keys fail.
func TestWhoFailsWhileNobodyGetsThrough(t *testing.T) {
	g := newClockGate(t)
	g.others()
	began := g.at
	for range 2 * rowKeys {
		g.report(g.key(), failed(connectors.Transient), false)
		g.at = g.at.Add(time.Second)
	}
	w, held := g.Held(g.at)
	if f := w.Failing; !held || f == nil || !f.Since.Equal(began) || len(f.Keys) != rowKeys || f.Keys[0] != "key1" || !f.More {
		t.Errorf("%+v, %+v", w, w.Failing)
	}
}

// A wait that the target has asked for ends when an operator wants so: it may have
// asked for it by mistake, and for an hour.
func TestHurryEndsAWaitThatTheTargetAskedFor(t *testing.T) {
	g := newClockGate(t)
	res := failed(connectors.Throttled)
	res.RetryAfter = time.Hour
	g.report("k", res, false)
	if n, _, wait := g.admit(10); n != 0 || wait != time.Hour {
		t.Fatalf("%d admitted, wait %s; want none for %s", n, wait, time.Hour)
	}
	done := g.Hurry()
	if n, probe, _ := g.admit(10); n != 10 || probe {
		t.Fatalf("%d admitted, probe %v; want all, for the circuit is closed", n, probe)
	}
	select {
	case <-done:
		t.Fatal("done before anything was reported")
	default:
	}
	g.report("k", connectors.Done(), false)
	<-done
}
