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
	"github.com/hms-utl/extsync/pkg/events"
)

// publish publishes version 1 of n keys.
func (b *bench) publish(t *testing.T, n int) {
	t.Helper()
	pub, err := events.NewPublisher(t.Context(), b.JS, events.DefaultNames())
	testkit.Must(t, err)
	for i := range n {
		_, err := pub.Publish(t.Context(), events.Update{Channel: "cal", Key: "k" + strconv.Itoa(i), Version: testkit.Number(1), Payload: []byte("1")})
		testkit.Must(t, err)
	}
}

// What was on a connection when it was cut comes again although nothing follows
// that would show the gap: in a latest channel nobody waits for an ack of it.
func TestLastMessagesThatWereLostOnTheWayComeAgain(t *testing.T) {
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			b := newBench(t, acceptAll)
			r := b.run(t, memoryChannel("cal", mode))
			r.hiddenCheck = 50 * time.Millisecond
			tn := b.tenure(t, r)
			testkit.Must(t, tn.takeOver(t.Context()))
			b.publish(t, 3)
			lost, err := tn.consumer.Fetch(3, jetstream.FetchMaxWait(testkit.Patience))
			testkit.Must(t, err)
			n := 0
			for range lost.Messages() {
				n++
			}
			if n != 3 {
				t.Fatalf("%d messages were lost, not 3", n)
			}
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			wg.Go(func() { tn.pull(ctx) })
			testkit.Eventually(t, "what was lost", func() (all bool) {
				tn.locked(func() { all = len(tn.held) == 3 })
				return all
			})
			cancel()
			wg.Wait()
		})
	}
}

// wantConsumerAfterRestart starts the broker again, calls back when conn is, and
// wants the tenure to have another consumer before heartbeats could have told.
func (b *bench) wantConsumerAfterRestart(t *testing.T, tn *tenure, conn *nats.Conn, back func()) {
	t.Helper()
	const early = 3 * pullHeartbeatMost / 2 // heartbeats tell after twice their distance
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
			tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
			conn := b.Connect(t) // the bench's own ends with the server
			var err error
			b.m.b.js, err = jetstream.New(conn)
			testkit.Must(t, err)
			b.m.b.progress, err = channels.OpenProgress(t.Context(), b.m.b.js, events.DefaultNames())
			testkit.Must(t, err)
			b.m.b.tenures.Store(1000)
			defer b.m.stats.enter(tn)()
			testkit.Must(t, tn.takeOver(t.Context()))
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			defer wg.Wait()
			defer cancel()
			wg.Go(func() { tn.pull(ctx) })
			if traffic {
				b.publish(t, 1)
				testkit.Eventually(t, "an update", func() (came bool) {
					tn.locked(func() { came = len(tn.held) == 1 })
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

// A deafConsumer hands out iterators that sometimes do what the client's may do:
// wait for messages without having asked for any, until they are called again.
type deafConsumer struct {
	jetstream.Consumer
	silent jetstream.MessagesContext // nothing ever comes
	after  int                       // of so many messages
}

func (c *deafConsumer) Messages(opts ...jetstream.PullMessagesOpt) (jetstream.MessagesContext, error) {
	it, err := c.Consumer.Messages(opts...)
	return &deafIterator{MessagesContext: it, c: c}, err
}

type deafIterator struct {
	jetstream.MessagesContext
	c    *deafConsumer
	came int
}

func (it *deafIterator) Next(opts ...jetstream.NextOpt) (jetstream.Msg, error) {
	if it.came == it.c.after {
		it.came = 0
		return it.c.silent.Next(opts...)
	}
	it.came++
	return it.MessagesContext.Next(opts...)
}

// The client may fail to send a pull when the last one came at once, and waits then
// for what nobody was asked for: with many partitions on a busy machine some stood
// still until heartbeats were missed, for 4 to 20 s.
func TestPullThatTheClientForgetsIsMadeUpFor(t *testing.T) {
	const updates = 10
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	testkit.Must(t, tn.takeOver(t.Context()))
	stream, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EMPTY", Subjects: []string{"empty"}})
	testkit.Must(t, err)
	nothing, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{})
	testkit.Must(t, err)
	silent, err := nothing.Messages(jetstream.PullHeartbeat(pullHeartbeat))
	testkit.Must(t, err)
	defer silent.Stop()
	b.publish(t, updates)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		if err := tn.pullFrom(ctx, &deafConsumer{Consumer: tn.consumer, silent: silent, after: 3}); ctx.Err() == nil {
			t.Errorf("pulling ended: %v", err)
		}
	})
	testkit.Eventually(t, "all updates", func() (all bool) {
		tn.locked(func() { all = len(tn.held) == updates })
		return all
	})
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
	wg.Go(func() { tn.pull(ctx) })
	inHand := func() (n int) {
		tn.locked(func() { n = len(tn.held) })
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
	tn.locked(func() {
		for _, it := range tn.held {
			tn.finish(it)
			break
		}
	})
	testkit.Eventually(t, "the next update", func() (next bool) {
		tn.locked(func() { next = tn.received == window+1 })
		return next
	})
}

// answered is a message of which only the reply subject is known.
type answered struct {
	jetstream.Msg
	reply string
	meta  jetstream.MsgMetadata // what the client makes of it
}

func (m *answered) Reply() string                             { return m.reply }
func (m *answered) Metadata() (*jetstream.MsgMetadata, error) { return &m.meta, nil }

func TestDeliveryIsWhatTheClientSaysOfAMessage(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Every)))
	testkit.Must(t, tn.takeOver(t.Context()))
	b.publish(t, 2)
	batch, err := tn.consumer.Fetch(2, jetstream.FetchMaxWait(testkit.Patience))
	testkit.Must(t, err)
	n := uint64(0)
	for msg := range batch.Messages() {
		n++
		got, err := deliveryOf(msg)
		testkit.Must(t, err)
		meta, err := msg.Metadata()
		testkit.Must(t, err)
		if want := (delivery{number: meta.Sequence.Consumer, seq: meta.Sequence.Stream, published: meta.Timestamp}); got != want || got.number != n {
			t.Errorf("= %+v, want %+v", got, want)
		}
	}
	if n != 2 {
		t.Errorf("%d messages came", n)
	}
	longer := &answered{reply: "$JS.ACK.domain.hash.SYNC_UPD_cal.c.1.7.3.1700000000000000000.0.x"}
	longer.meta.Sequence = jetstream.SequencePair{Consumer: 3, Stream: 7}
	if got, err := deliveryOf(longer); err != nil || got.number != 3 || got.seq != 7 {
		t.Errorf("of a longer reply subject: %+v, %v", got, err)
	}
	if _, err := deliveryOf(&answered{reply: "$JS.ACK.SYNC_UPD_cal.c.1.x.3.1700000000000000000.0"}); err == nil {
		t.Error("rubbish is no error")
	}
}
