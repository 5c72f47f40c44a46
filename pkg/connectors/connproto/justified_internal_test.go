package connproto

import (
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// The newest version must not end as superseded by nothing.
func TestStaleNeedsANewerVersion(t *testing.T) {
	attempts := []connectors.Attempt{{Update: events.Update{Version: testkit.Number(5)}}}
	for held, want := range map[string]connectors.Class{"": connectors.Transient, "1": connectors.Transient, "5": connectors.Transient, "6": connectors.Stale} {
		res := connectors.Result{Class: connectors.Stale}
		if held != "" {
			res.Held.Version = versioning.Must(versioning.Parse(held))
		}
		if got := justified(attempts, []connectors.Result{res})[0]; got.Class != want {
			t.Errorf("held %q: %s, want %s", held, got.Class, want)
		}
	}
}
