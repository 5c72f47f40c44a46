package channels_test

import (
	"testing"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// What doctor looks at are the streams that Names owns: some were left out.
func TestNamesOwnsWhatIsProvisioned(t *testing.T) {
	b := natstest.Run(t)
	names := events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), b.JS, names, channels.Storage{}))
	list := b.JS.StreamNames(t.Context())
	for name := range list.Name() {
		if !wire.OwnsStream(names, name) {
			t.Errorf("%s is provisioned and not owned", name)
		}
	}
	testkit.Must(t, list.Err())
}
