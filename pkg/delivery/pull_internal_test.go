package delivery

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/feed"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// publish publishes version 1 of n keys.
func (b *bench) publish(t *testing.T, n int) {
	t.Helper()
	pub, err := publish.New(t.Context(), b.JS, events.DefaultNames())
	testkit.Must(t, err)
	for i := range n {
		_, err := pub.Publish(t.Context(), events.Update{Channel: "cal", Key: "k" + strconv.Itoa(i), Version: testkit.Number(1), Payload: []byte("1")})
		testkit.Must(t, err)
	}
}

// wantConsumerAfterRestart starts the broker again, calls back when conn is, and
// wants the tenure to have another consumer before heartbeats could have told.
func (b *bench) wantConsumerAfterRestart(t *testing.T, tn *tenure, conn *nats.Conn, back func()) {
	t.Helper()
	const early = 3 * feed.HeartbeatMost / 2 // heartbeats tell after twice their distance
	first := tn.progress.Now().Consumer
	reconnected := conn.StatusChanged(nats.CONNECTED)
	defer conn.RemoveStatusListener(reconnected)
	b.Stop(t)
	b.Start(t)
	deadline := time.After(early)
	<-reconnected
	back()
	for tn.progress.Now().Consumer == first {
		select {
		case <-deadline:
			t.Fatal("the consumer is not made again")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A consumer in memory is gone without a word when its server was started again.
// A worker with many partitions has its heartbeats far apart, and does not wait for
// them after a reconnect, nor where there was traffic.
func TestLostConsumerIsNoticedBeforeHeartbeatsTell(t *testing.T) {
	for _, traffic := range []bool{false, true} {
		t.Run("traffic="+strconv.FormatBool(traffic), func(t *testing.T) {
			b := newBench(t, acceptAll)
			r := b.run(t, memoryChannel("cal", channels.Latest))
			conn := b.Connect(t) // the bench's own ends with the server
			var err error
			b.m.b.js, err = jetstream.New(conn)
			testkit.Must(t, err)
			b.m.b.progress, err = channels.OpenProgress(t.Context(), b.m.b.js, events.DefaultNames())
			testkit.Must(t, err)
			tn := b.tenure(t, r)
			b.m.b.tenures.Store(1000)
			defer b.m.stats.enter(tn)()
			testkit.Must(t, tn.takeOver(t.Context()))
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			defer wg.Wait()
			defer cancel()
			wg.Go(func() { tn.feeds(t, ctx) })
			if traffic {
				b.publish(t, 1)
				testkit.Eventually(t, "an update", func() (came bool) {
					tn.at(func(m *lanes.Lanes) { came = m.Updates() == 1 })
					return came
				})
			}
			b.wantConsumerAfterRestart(t, tn, conn, func() {
				if !traffic {
					b.m.checkConsumers()
				}
			})
		})
	}
}

// It is the worker's loop that has consumers looked after when the broker is back.
func TestWorkerLooksAfterItsConsumersAfterAReconnect(t *testing.T) {
	b := newBench(t, acceptAll)
	_, err := b.m.b.registry.Put(t.Context(), memoryChannel("cal", channels.Latest), 0)
	testkit.Must(t, err)
	conn := b.Connect(t)
	o := b.m.o
	o.JS, err = jetstream.New(conn)
	testkit.Must(t, err)
	w, err := New(o)
	testkit.Must(t, err)
	reconnecting, err := w.tryOpen(t.Context())
	testkit.Must(t, err)
	reconnecting.tenures.Store(1000) // as many partitions have their heartbeats far apart
	m := newManager(w.o, reconnecting, w.stats)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		if err := m.run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	var tn *tenure
	testkit.Eventually(t, "the partition to be taken over", func() bool {
		_, tenures := m.stats.status()
		if len(tenures) == 1 && tenures[0].takenOver.Load() {
			tn = tenures[0]
		}
		return tn != nil
	})
	b.wantConsumerAfterRestart(t, tn, conn, func() {})
}

// The window bounds what is in memory also where the broker does not count what
// is not acked, and an update that is done makes room for the next.
func TestWindowBoundsWhatIsInHand(t *testing.T) {
	const window = 20
	b := newBench(t, acceptAll)
	cfg := memoryChannel("cal", channels.Latest)
	cfg.Window, cfg.Concurrency = window, 4
	tn := b.tenure(t, b.run(t, cfg))
	testkit.Must(t, tn.takeOver(t.Context()))
	b.publish(t, 3*window)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { tn.feeds(t, ctx) })
	inHand := func() (n int) {
		tn.at(func(m *lanes.Lanes) { n = m.Updates() })
		return n
	}
	testkit.Eventually(t, "a full window", func() bool { return inHand() == window })
	stays := time.After(200 * time.Millisecond)
	for waiting := true; waiting; {
		select {
		case <-stays:
			waiting = false
		case <-time.After(5 * time.Millisecond):
			if n := inHand(); n > window {
				t.Fatalf("%d in hand", n)
			}
		}
	}
	var one *lanes.Item
	tn.at(func(m *lanes.Lanes) { m.Held(func(it *lanes.Item) { one = it }) })
	tn.settle(one)
	testkit.Eventually(t, "the next update", func() (next bool) {
		tn.at(func(m *lanes.Lanes) { next = m.Received() == window+1 })
		return next
	})
}

// feeds runs the feed of a tenure until ctx ends.
func (t *tenure) feeds(tt *testing.T, ctx context.Context) {
	if err := t.feed.Run(ctx); err != nil {
		tt.Errorf("the feed has ended: %v", err)
	}
}
