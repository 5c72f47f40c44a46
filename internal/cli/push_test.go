package cli

import (
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/events"
)

// The default id was made before the payload was read: after a reset of the key two
// contents of one version had the same id, and a target that drops what it has seen
// dropped the second.
func TestPushedContentsHaveTheirOwnIDs(t *testing.T) {
	ids := map[string]string{}
	for _, f := range []pushFlags{{data: `{"a":1}`}, {data: "-"}, {op: "delete"}} {
		if f.op == "" {
			f.op = string(events.Upsert)
		}
		f.contentType = events.DefaultContentType
		u, err := f.update(strings.NewReader(`{"a":2}`), []string{"erp", "k", "7"})
		if err != nil {
			t.Fatal(err)
		}
		if want := events.MessageID(events.ToChannel("erp"), "k", u.Tag()); u.ID != want {
			t.Errorf("id %q, want %q", u.ID, want)
		}
		if other, there := ids[u.ID]; there {
			t.Errorf("%q and %q have the id %q", other, u.Payload, u.ID)
		}
		ids[u.ID] = string(u.Payload)
	}
}
