package channels

import (
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
)

// An owner that handed its partition over just when a resync was asked for took the request
// without an answer, and whoever had asked was told that nobody had answered.
func TestAResyncIsToldAgainToThePartitionsOwner(t *testing.T) {
	r, _ := withTopic(t)
	_, err := r.Put(t.Context(), Config{Name: "cal", Partitions: 1, Connector: Connector{Kind: "memory"}}, 0)
	testkit.Must(t, err)
	var asked atomic.Int32
	sub, err := r.js.Conn().Subscribe(wire.Control(r.names, "cal", 0), func(m *nats.Msg) {
		if asked.Add(1) > 1 {
			_ = m.Respond([]byte(`{}`)) // whoever asked says so
		}
	})
	testkit.Must(t, err)
	defer func() { testkit.Must(t, sub.Unsubscribe()) }()
	testkit.Must(t, r.js.Conn().Flush())
	if _, err := r.StartResync(t.Context(), "cal", Selection{}); err != nil || asked.Load() != 2 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}
