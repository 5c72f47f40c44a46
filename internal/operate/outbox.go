package operate

import (
	"context"
	"time"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/words"
)

// idleAfter is how old a row may be before somebody should ask whether a relay runs.
const idleAfter = 10 * time.Second

// ExplainOutbox says in a report on an outbox why rows wait, as far as the broker knows.
// connected is nil, or why there is no client.
func (c *Client) ExplainOutbox(ctx context.Context, report *relay.Report, connected error) {
	var access broker.Access
	if connected == nil {
		access, _ = broker.ReadAccess(ctx, c.Conn) // a broker that does not tell restricts nothing as far as we know
	}
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
		case bad == nil && access.Restricted() && !access.Publish.Has(c.Names.Update(route, "*")):
			t.Why = "whoever asks this has not the permission to publish there; if the relay is in the same role, 'extsync broker-config' gives it"
		case t.OldestSeconds > idleAfter.Seconds():
			t.Why = "the broker would take them: does a relay run, and what does its log say?"
		}
	}
}
