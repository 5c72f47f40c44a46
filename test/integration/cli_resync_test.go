package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

type resyncDoc struct {
	Channel, State                    string
	Total, Delivered, Skipped, Failed uint64
}

// A resync is held, goes on, is followed to its end and is stopped by commands of
// their own, while the target takes its time.
func TestResyncIsSteered(t *testing.T) {
	t.Parallel()
	const keys = 40
	gate := make(chan struct{})
	var held, calls atomic.Int64
	var hold atomic.Bool
	s := newSite(t)
	s.apply(target(t, func(http.ResponseWriter, *http.Request) {
		calls.Add(1)
		if hold.Load() {
			held.Add(1)
			<-gate
		}
	}))
	s.worker()
	const channel = "appointment_calendar"
	for i := range keys {
		s.extsync("push", channel, fmt.Sprint("k", i), "1", "--data", "{}").ok(t)
	}
	resync := func(args ...string) (doc resyncDoc) {
		t.Helper()
		s.extsync(append([]string{"resync", channel, "--json"}, args...)...).decode(t, &doc)
		return doc
	}
	refused(t, s.extsync("resync", channel, "--follow"), cli.ExitUnknown, "no resync")
	testkit.Eventually(t, "everything is delivered", func() bool { return calls.Load() == keys })

	hold.Store(true)
	if doc := resync("--detach"); doc.State != "running" || doc.Total != keys {
		t.Errorf("detached: %+v", doc)
	}
	testkit.Eventually(t, "the target is called", func() bool { return held.Load() > 0 })
	refused(t, s.extsync("resync", channel), cli.ExitRefused, "not finished")
	follow := s.extsync("resync", channel, "--follow", "--json").start(t)
	if doc := resync("--pause"); doc.State != "paused" {
		t.Errorf("paused: %+v", doc)
	}
	// Whoever follows is told that it is held.
	if code := follow.wait(t); code != cli.ExitOK {
		t.Errorf("following a resync that is paused: code %d", code)
	}
	hold.Store(false)
	close(gate)
	atPause := resync("--follow")
	if atPause.State != "paused" || atPause.Delivered == keys {
		t.Errorf("after its calls have ended: %+v", atPause)
	}
	if doc := resync("--resume"); doc.State != "running" && doc.State != "done" {
		t.Errorf("resumed: %+v", doc)
	}
	if doc := resync("--follow"); doc.State != "done" || doc.Delivered != keys || doc.Failed != 0 {
		t.Errorf("followed to its end: %+v", doc)
	}

	gate = make(chan struct{})
	defer close(gate)
	hold.Store(true)
	resync("--detach")
	if doc := resync("--stop"); doc.State != "stopped" {
		t.Errorf("stopped: %+v", doc)
	}
	refused(t, s.extsync("resync", channel, "--resume"), cli.ExitUnknown, "stopped")
}

// They were refused with the exit code of an unexpected error.
func TestFlagsThatExcludeEachOtherAreWrongUsage(t *testing.T) {
	refused(t, extsync("resync", "c", "--pause", "--stop"), cli.ExitUsage, "pause", "stop")
	refused(t, extsync("resync", "c", "--key", "a", "--key-prefix", "b"), cli.ExitUsage, "key-prefix")
}

// A resync of a paused channel stood at 0 and said nothing: it begins when the channel is
// resumed.
func TestResyncOfAPausedChannelSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	s.worker()
	s.extsync("push", "erp_db", "k", "1", "--data", "{}", "--wait", "30s").ok(t)
	s.extsync("channels", "pause", "erp_db").ok(t)
	const says = "erp_db is paused: the resync begins, or goes on, when the channel is resumed"
	if out := s.extsync("resync", "erp_db", "--detach").ok(t); !strings.Contains(out, says) {
		t.Errorf("%s", out)
	}
	follow := s.extsync("resync", "erp_db", "--follow").start(t)
	testkit.Eventually(t, "it says so", func() bool { return strings.Contains(follow.stderr(), says) })
	s.extsync("channels", "resume", "erp_db").ok(t)
	if code := follow.wait(t); code != cli.ExitOK {
		t.Errorf("code %d", code)
	}
}
