package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// A channel that is removed for good leaves nothing: one of its name starts from nothing, and
// takes an older version than the former one had.
func TestPurgedChannelLeavesNothing(t *testing.T) {
	t.Parallel()
	c := &caseRig{rig: newRig(t), name: "portal", calls: map[string][]call{}}
	config := map[string]any{"method": "PUT", "url": c.serve(func(w http.ResponseWriter, _ *http.Request, key string, _ int) {
		if key == "bad" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})}
	c.worker("w1")
	make := func() { c.open(c.name, "http", 3, config) }
	make()
	c.ends(c.push("good", 7, `{"v":1}`), events.Delivered)
	c.ends(c.push("bad", 1, `{"v":1}`), events.DeadLettered)

	refused(t, c.extsync("channels", "delete", "portal", "--purge"), cli.ExitUsage, "for good", "--yes")
	out := c.extsync("channels", "delete", "portal", "--purge", "--yes").ok(t)
	if !strings.Contains(out, "portal: deleted, with 0 undelivered updates; for good") {
		t.Errorf("it says:\n%s", out)
	}
	refused(t, c.extsync("channels", "restore", "portal"), cli.ExitUnknown, "portal")
	refused(t, c.extsync("channels", "delete", "portal", "--purge", "--yes"), cli.ExitUnknown, "portal")

	// What the log has of the former one is no outcome of the new one, delivered or not.
	c.open(c.name, "http", 3, config, func(cfg *channels.Config) { cfg.Paused = new(true) })
	for _, key := range []string{"good", "bad"} {
		refused(t, c.extsync("get", key, "--channel", "portal"), cli.ExitUnknown, key)
	}
	refused(t, c.extsync("wait", "portal", "good@7", "--timeout", "1s"), cli.ExitNoAck, "no outcome")
	c.extsync("channels", "resume", "portal").ok(t)
	var dead struct{ Letters []struct{} }
	c.extsync("dead", "list", "--channel", "portal", "--json").decode(t, &dead)
	if len(dead.Letters) > 0 {
		t.Errorf("%d dead letters are there", len(dead.Letters))
	}
	c.ends(c.push("good", 1, `{"v":2}`), events.Delivered)

	// One that was deleted before goes as well, without a worker.
	c.extsync("channels", "delete", "portal", "--yes").ok(t)
	c.stopWorkers()
	c.extsync("channels", "delete", "portal", "--purge", "--yes").ok(t)
	refused(t, c.extsync("channels", "show", "portal"), cli.ExitUnknown, "portal")
}
