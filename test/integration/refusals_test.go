package integration

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/why"
)

// A target that refuses everything costs twenty updates less one, however often the channel is
// paused, changed or taken over meanwhile: the others wait until it takes one.
func TestRefusalsOutliveTheOwner(t *testing.T) {
	t.Parallel()
	c := &caseRig{rig: newRig(t), name: "portal", calls: map[string][]call{}}
	refuses := make(chan struct{})
	config := map[string]any{"method": "PUT", "url": c.serve(func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		select {
		case <-refuses:
		default:
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})}
	worker := c.worker("w1")
	c.open(c.name, "http", 3, config)
	const keys, few = 60, 19
	for k := range keys {
		c.push(fmt.Sprint("k", k), 1, `{}`)
	}
	blocked := func(when string) {
		t.Helper()
		testkit.Eventually(t, when+": the channel to be blocked", func() bool {
			st := c.status("portal")
			return slices.ContainsFunc(st.Reasons, func(r reasonDoc) bool { return r.Code == string(why.TargetRefuses) })
		})
		var dead struct{ Letters []struct{} }
		c.extsync("dead", "list", "--channel", "portal", "--limit", "100", "--json").decode(t, &dead)
		if len(dead.Letters) != few {
			t.Errorf("%s: %d updates were given up, want %d", when, len(dead.Letters), few)
		}
	}
	blocked("at first")
	for range 2 {
		c.extsync("channels", "pause", "portal").ok(t)
		c.extsync("channels", "resume", "portal").ok(t)
		blocked("after a pause")
	}
	worker.Terminate()
	if code, err := worker.ExitCode(testkit.Patience); err != nil || code != cli.ExitOK {
		t.Fatalf("exit code %d, %v", code, err)
	}
	w2 := c.worker("w2")
	blocked("after a hand-over")
	w2.Kill()
	c.worker("w3")
	blocked("after a kill")
	close(refuses)
	testkit.Eventually(t, "the others to be delivered", func() bool { return c.status("portal").Undelivered == 0 })
	blockedNoMore := c.status("portal")
	if blockedNoMore.State != "active" {
		t.Errorf("it is %+v", blockedNoMore)
	}
}

// Whoever waits for an outcome hears that the broker is away, and not that it takes long.
func TestWaitSaysThatTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	crew := faults.NewCrew(t)
	server := faults.StartServer(t, crew, natsServer(t))
	r := newRigAt(t, crew, server.URL, 1)
	c := &caseRig{rig: r, name: "portal", calls: map[string][]call{}}
	c.open(c.name, "http", 3, map[string]any{"method": "PUT", "url": "http://127.0.0.1:1"}) // and no worker
	c.push("k", 1, `{}`)
	// It is at work once it has asked for something.
	asks := make(chan struct{}, 100)
	watch, err := r.nc.Subscribe("$JS.API.>", func(*nats.Msg) {
		select {
		case asks <- struct{}{}:
		default:
		}
	})
	r.must(err)
	r.must(r.nc.Flush())
	waits := r.extsync("wait", "portal", "k@1", "--timeout", "3s").start(t)
	<-asks
	r.must(watch.Unsubscribe())
	server.Kill()
	if code := waits.wait(t); code != cli.ExitBroker {
		t.Errorf("exit code %d: %s", code, waits.stderr())
	}
}
