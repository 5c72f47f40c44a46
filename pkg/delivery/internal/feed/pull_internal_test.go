package feed

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
)

// What was on a connection when it was cut comes again although nothing follows
// that would show the gap: in a latest channel nobody waits for an ack of it.
func TestLastMessagesThatWereLostOnTheWayComeAgain(t *testing.T) {
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			b := newBench(t, channels.Config{Mode: mode}, func(o *Options) { o.HiddenCheck = 50 * time.Millisecond })
			b.open(t)
			b.publish(t, 3)
			lost, err := b.consumer.Fetch(3, jetstream.FetchMaxWait(testkit.Patience))
			testkit.Must(t, err)
			n := 0
			for range lost.Messages() {
				n++
			}
			if n != 3 {
				t.Fatalf("%d messages were lost, not 3", n)
			}
			b.running(t)
			testkit.Eventually(t, "what was lost", func() bool { return b.taken.count() == 3 })
		})
	}
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
	b := newBench(t, channels.Config{Mode: channels.Latest})
	b.open(t)
	stream, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EMPTY", Subjects: []string{"empty"}})
	testkit.Must(t, err)
	nothing, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{})
	testkit.Must(t, err)
	silent, err := nothing.Messages(jetstream.PullHeartbeat(pullHeartbeat))
	testkit.Must(t, err)
	defer silent.Stop()
	b.publish(t, updates)
	b.consumer = &deafConsumer{Consumer: b.consumer, silent: silent, after: 3}
	b.running(t)
	testkit.Eventually(t, "all updates", func() bool { return b.taken.count() == updates })
}

// A message that clients do not hand out goes to the taker as the stream has it, and what
// comes behind it comes as ever.
func TestHiddenMessageIsTaken(t *testing.T) {
	b := newBench(t, channels.Config{Mode: channels.Latest}, func(o *Options) { o.HiddenCheck = 50 * time.Millisecond })
	b.open(t)
	msg := nats.NewMsg(b.names.Update(events.ToChannel("cal"), "forged"))
	msg.Header.Set(plain.HeaderStatus, "404")
	_, err := b.JS.PublishMsg(t.Context(), msg)
	testkit.Must(t, err)
	if found, err := b.LookHidden(t.Context()); !found || err != nil || b.taken.hidden != 1 {
		t.Fatalf("found %v, %v, taken %d; want the one that there is", found, err, b.taken.hidden)
	}
	b.publish(t, 2)
	b.running(t)
	testkit.Eventually(t, "what is behind it", func() bool { return b.taken.count() == 2 })
}

// The first message that a new owner is sent was lost: only what the former owner had not
// settled is looked through for it, not the whole stream.
func TestGapIsLookedThroughFromTheFloor(t *testing.T) {
	const settled = 300
	b := newBench(t, channels.Config{Mode: channels.Latest}, func(o *Options) { o.HiddenCheck = 50 * time.Millisecond })
	b.publish(t, settled)
	b.taken.floor = settled
	if _, _, err := b.Look(t.Context(), Floor{}, 0); err != nil {
		t.Fatal(err)
	}
	testkit.Must(t, b.Open(t.Context(), b.taken.Floor()))
	for _, key := range []string{"lost", "second"} {
		_, err := b.JS.Publish(t.Context(), b.names.Update(events.ToChannel("cal"), key), []byte("1"))
		testkit.Must(t, err)
	}
	asked := make(chan *nats.Msg, 2*settled)
	sub, err := b.Conn.ChanSubscribe("$JS.API.STREAM.MSG.GET."+b.stream.CachedInfo().Config.Name, asked)
	testkit.Must(t, err)
	defer func() { _ = sub.Unsubscribe() }()
	lost, err := b.consumer.Fetch(1)
	testkit.Must(t, err)
	for range lost.Messages() { // and nobody hears of it
	}
	b.running(t)
	testkit.Eventually(t, "both messages", func() bool { return b.taken.count() == 2 })
	if len(asked) > 20 {
		t.Errorf("%d messages were read", len(asked))
	}
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
	b := newBench(t, channels.Config{Mode: channels.Every})
	b.open(t)
	b.publish(t, 2)
	batch, err := b.consumer.Fetch(2, jetstream.FetchMaxWait(testkit.Patience))
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
