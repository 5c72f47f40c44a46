package feed

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// A bench is a broker with channel "cal", and the feed of its partition 0.
type bench struct {
	*natstest.Broker
	*Feed
	names  events.Names
	stream jetstream.Stream
	taken  *taken
	older  []string // what the feed has found
}

func newBench(t *testing.T, cfg channels.Config, change ...func(*Options)) *bench {
	t.Helper()
	b := &bench{Broker: natstest.Run(t), names: events.DefaultNames(), taken: &taken{}}
	testkit.Must(t, channels.Provision(t.Context(), b.JS, b.names, channels.Storage{}))
	kind := connectors.Kind{Name: "none", Check: func([]byte) error { return nil }}
	registry, err := channels.OpenRegistry(t.Context(), b.JS, b.names, connectors.NewCatalog(kind))
	testkit.Must(t, err)
	cfg.Name, cfg.Connector.Kind = "cal", "none"
	e, err := registry.Put(t.Context(), cfg, 0)
	testkit.Must(t, err)
	b.stream, err = b.JS.Stream(t.Context(), wire.UpdateStream(b.names, events.ToChannel("cal")))
	testkit.Must(t, err)
	b.taken.stream = b.stream
	o := Options{
		JS: b.JS, Names: b.names, Route: events.ToChannel("cal"), Partitions: e.Config.Partitions, Queue: cfg.Mode == channels.Every, MaxAckPending: e.Config.Window,
		Prefix: "g1-p0-e1-1", Cursor: &memory{}, Feeds: func() int { return 1 }, HiddenCheck: time.Minute,
		Older: func(found string) { b.older = append(b.older, found) }, Logger: zerolog.Nop(),
	}
	for _, f := range change {
		f(&o)
	}
	b.Feed = New(o, b.taken)
	return b
}

// open opens the feed at 0.
func (b *bench) open(t *testing.T) {
	t.Helper()
	from, found, err := b.Look(t.Context(), Floor{}, 0)
	if err != nil || found != "" || from != (Floor{}) {
		t.Fatalf("%+v, %q, %v; want to begin at 0", from, found, err)
	}
	testkit.Must(t, b.Open(t.Context(), from))
}

// publish stores n messages of as many keys.
func (b *bench) publish(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		_, err := b.JS.Publish(t.Context(), b.names.Update(events.ToChannel("cal"), "k"+strconv.Itoa(i)), []byte("1"))
		testkit.Must(t, err)
	}
}

// running runs the feed until the test ends.
func (b *bench) running(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		testkit.Must(t, <-done)
	})
}

// taken takes all that comes, and settles nothing but what is hidden, which it removes.
type taken struct {
	stream jetstream.Stream

	mu     sync.Mutex
	seqs   map[uint64]bool
	last   uint64
	floor  uint64 // of an owner before
	hidden int
}

func (k *taken) Take(_ context.Context, m Message) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seqs == nil {
		k.seqs = map[uint64]bool{}
	}
	if m.Seq > max(k.floor, k.last)+1 && !k.seqs[m.Seq] {
		return fmt.Errorf("%d came after %d", m.Seq, k.last)
	}
	k.seqs[m.Seq], k.last = true, max(k.last, m.Seq)
	return nil
}

func (k *taken) TakeHidden(ctx context.Context, m *jetstream.RawStreamMsg) error {
	if m == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hidden++
	k.last = m.Sequence
	return k.stream.DeleteMsg(ctx, m.Sequence)
}

func (k *taken) Floor() Floor {
	k.mu.Lock()
	defer k.mu.Unlock()
	return Floor{Seq: k.floor, Last: max(k.floor, k.last)}
}

func (*taken) Anew()      {}
func (*taken) Slow() bool { return false }

func (k *taken) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.seqs)
}

// memory is a cursor that nobody else reads.
type memory struct{ consumer string }

func (m *memory) Consumer() string { return m.consumer }

func (m *memory) Move(_ context.Context, _ Floor, _ int64, consumer string) error {
	m.consumer = consumer
	return nil
}
