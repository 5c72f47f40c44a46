package delivery_test

import (
	"errors"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A publisher that was told of an outcome publishes the next version at once, with the
// right base; another one an older version, or other content. In mode every the update
// had left its stream before the ledger had it: the right base was refused, the wrong
// versions were taken.
func TestHeadIsKnownRightAfterItsOutcome(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Every))
	l.work("a")
	for v := int64(1); v <= 40; v++ {
		pub, err := publish.New(t.Context(), l.JS, events.DefaultNames()) // one that remembers nothing
		testkit.Must(t, err)
		u := update("cal", "k", v)
		if v > 1 {
			u.Base = testkit.Number(v - 1)
			stale := update("cal", "k", v-1)
			stale.Payload = []byte(`"other"`)
			if _, err := pub.Publish(t.Context(), stale); !errors.Is(err, events.ErrConflict) {
				t.Fatalf("other content of version %d right after its outcome: %v, want %v", v-1, err, events.ErrConflict)
			}
		}
		_, ack, err := pub.Request(t.Context(), u)
		if err != nil || ack.Outcome != events.Delivered {
			t.Fatalf("version %d from %d: %+v, %v; want it delivered", v, v-1, ack, err)
		}
	}
}
