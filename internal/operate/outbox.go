package operate

import (
	"context"
	"time"

	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/words"
)

// idleAfter is how old a row may be before somebody should ask whether a relay runs.
const idleAfter = 10 * time.Second

// ExplainOutbox says in a report on an outbox why rows wait, as far as the broker knows.
// connected is nil, or why there is no client.
func (c *Client) ExplainOutbox(ctx context.Context, report *relay.Report, connected error) {
	for i := range report.Targets {
		t := &report.Targets[i]
		if t.Waiting == 0 {
			continue
		}
		err := connected
		route, bad := relay.RouteOf(t.Target)
		if bad == nil && err == nil {
			err = c.CheckRoute(ctx, route)
		}
		switch {
		case err != nil:
			t.Why = words.Of(err)
		case t.OldestSeconds > idleAfter.Seconds():
			t.Why = "the broker would take them: does a relay run, and what does its log say?"
		}
	}
}
