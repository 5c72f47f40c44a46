package gate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/why"
)

// A target takes ten a second and gets a hundred. The pace comes down to about what it
// takes, stays there, and is given up when the target takes more.
func TestPaceFollowsATargetThatThrottles(t *testing.T) {
	g := newClockGate(t)
	g.others()
	run := func(seconds, allowed int) (sent, throttled int) {
		for range seconds {
			left := allowed
			for range 100 {
				g.at = g.at.Add(10 * time.Millisecond)
				if n, _, _ := g.admit(1); n == 0 {
					continue
				}
				if sent++; left > 0 {
					left--
					g.report(g.key(), connectors.Done(), false)
				} else {
					throttled++
					g.report(g.key(), failed(connectors.Throttled), false)
				}
			}
		}
		return sent, throttled
	}
	run(10, 10) // until it has come down
	g.report(g.key(), connectors.Done(), false)
	for n := 1; n > 0; n, _, _ = g.admit(1) { // whoever comes now waits
	}
	if w, held := g.Held(g.at); !held || w.Code != why.RateLimited || !w.Next.After(g.at) || !strings.Contains(w.Message, "updates a second") {
		t.Errorf("who waits for the pace is told %+v, %t", w, held)
	}
	if sent, throttled := run(60, 10); sent < 60*5 || throttled > sent/8 {
		t.Errorf("%d sent in a minute, and %d of them throttled", sent, throttled)
	}
	run(60, 100)
	if sent, throttled := run(10, 100); sent != 1000 || throttled != 0 {
		t.Errorf("%d sent and %d throttled by a target that takes all", sent, throttled)
	}
	if w, held := g.Held(g.at); held {
		t.Errorf("nobody waits any more, and it says %+v", w)
	}
}

// One key that is throttled again and again slows no other down.
func TestThrottledKeyAloneLowersNoPace(t *testing.T) {
	g := newClockGate(t)
	g.others()
	for i := range 100 {
		g.report("bad", failed(connectors.Throttled), false)
		g.at = g.at.Add(time.Second)
		g.report(fmt.Sprint(i), connectors.Done(), false)
		if n, _, wait := g.admit(10); n != 10 {
			t.Fatalf("%d admitted, wait %s", n, wait)
		}
	}
}
