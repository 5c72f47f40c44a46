package sim_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/delivery/internal/sim"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	channel  = "cal"
	leaseTTL = 4 * time.Second
)

// A world is a deployment in simulated time: broker, channel, target, and workers that come
// and go.
type world struct {
	t      testing.TB
	seed   uint64
	dice   *rand.Rand // for what happens; used by one goroutine
	plan   plan
	names  events.Names
	broker *sim.Broker
	start  time.Time

	route   events.Route // where updates are published
	readers []*reader    // that there are
	later   []*reader    // that are not there yet

	admin    *process
	registry *channels.Registry
	letters  *deadletters.Replayer

	workers []*worker
	leaving []<-chan struct{} // of workers that were dismissed, closed when they have ended
	hired   int
	rounds  int // of settles
	story   story
	book    book
	witness witness

	mu    sync.Mutex
	notes []string // what happened, for who looks at a failure
}

// A process has a connection of its own.
type process struct {
	link *sim.Link
	nc   *nats.Conn
	js   jetstream.JetStream
}

func newWorld(t testing.TB, seed uint64, change func(*plan)) *world {
	t.Helper()
	w := &world{t: t, seed: seed, dice: rand.New(rand.NewPCG(seed, 0)), names: events.DefaultNames(), broker: sim.New(), start: time.Now()} //nolint:gosec // reproducible on purpose
	w.plan = drawPlan(w.dice)
	w.plan.temper.objects = sim.Hash(seed, "objects")%3 == 0 // it changes nothing else of a seed's history
	switch {
	case change != nil:
		change(&w.plan)
	case hasTopic(seed):
		w.plan.drawTopic(seed)
	}
	w.route = w.plan.config.Route()
	w.readers = []*reader{newReader(w.plan.config, w.plan.temper, seed)}
	if w.route.Topic() != "" {
		w.later = []*reader{newReader(w.plan.second.config, w.plan.second.temper, sim.Hash(seed, "second"))}
	}
	w.book.open(w)
	w.admin = w.connect("admin")
	testkit.Must(t, channels.Provision(t.Context(), w.admin.js, w.names, channels.Storage{}))
	w.open()
	if topic := w.route.Topic(); topic != "" {
		_, err := w.registry.PutTopic(t.Context(), channels.Topic{Name: topic}, 0)
		testkit.Must(t, err)
	}
	_, err := w.registry.Put(t.Context(), w.plan.config, 0)
	testkit.Must(t, err)
	w.arrivals(-1)
	return w
}

// open opens what administrators use.
func (w *world) open() {
	w.t.Helper()
	var err error
	w.registry, err = channels.OpenRegistry(w.t.Context(), w.admin.js, w.names, w.catalog("", w.admin.link))
	testkit.Must(w.t, err)
	letters, err := deadletters.Open(w.t.Context(), w.admin.js, w.names)
	testkit.Must(w.t, err)
	w.letters = letters.Replayer(w.registry)
}

// catalog returns a kind for each channel, as a worker sees it.
func (w *world) catalog(name string, link *sim.Link) *connectors.Catalog {
	var kinds []connectors.Kind
	for _, r := range append(slices.Clone(w.readers), w.later...) {
		kinds = append(kinds, connectors.Kind{
			Name: r.kind, Capabilities: connectors.Capabilities{Batches: true, Remembers: r.target.objects},
			Check: func([]byte) error { return nil },
			Open: func(context.Context, connectors.Env, []byte) (connectors.Connector, error) {
				return &door{target: r.target, worker: name, link: link}, nil
			},
		})
	}
	return connectors.NewCatalog(kinds...)
}

func (w *world) connect(name string) *process {
	w.t.Helper()
	p := &process{link: w.broker.Link(name, w.seed, w.plan.latency)}
	var err error
	p.nc, err = broker.Connect(w.t.Context(), broker.Config{}, zerolog.Nop(), nats.InProcessServer(p.link), nats.Name(name))
	testkit.Must(w.t, err)
	p.js, err = jetstream.New(p.nc)
	testkit.Must(w.t, err)
	return p
}

// note remembers that something happened.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, fmt.Sprintf("%8.3fs ", time.Since(w.start).Seconds())+fmt.Sprintf(format, args...))
}

// A noteWriter has a worker's log among the notes.
type noteWriter struct {
	w    *world
	name string
}

func (n noteWriter) Write(line []byte) (int, error) {
	n.w.note("%s %s", n.name, line[:len(line)-1])
	return len(line), nil
}

// A worker is one that was hired.
type worker struct {
	*process
	name  string
	leave context.CancelFunc
	done  chan struct{}
	err   error // once done is closed
}

// hire starts a worker.
func (w *world) hire() {
	w.t.Helper()
	name := "w" + strconv.Itoa(w.hired)
	w.hired++
	p := w.connect(name)
	d, err := delivery.New(delivery.Options{
		JS: p.js, Catalog: w.catalog(name, p.link), ID: name, LeaseTTL: leaseTTL, DrainTimeout: 5 * time.Second, ParkAfter: w.plan.parkAfter,
		Logger: zerolog.New(noteWriter{w, name}).Level(zerolog.InfoLevel),
	})
	testkit.Must(w.t, err)
	ctx, leave := context.WithCancel(context.Background())
	wk := &worker{process: p, name: name, leave: leave, done: make(chan struct{})}
	go func() {
		wk.err = d.Run(ctx)
		close(wk.done)
	}()
	w.workers = append(w.workers, wk)
	w.note("hire %s", name)
}

// fire takes a worker out of those that are there.
func (w *world) fire(i int) *worker {
	wk := w.workers[i]
	w.workers = append(w.workers[:i:i], w.workers[i+1:]...)
	return wk
}

// kill has a worker vanish.
func (w *world) kill(i int) {
	wk := w.fire(i)
	w.note("kill %s", wk.name)
	wk.link.Kill()
	wk.leave()
	wk.nc.Close()
}

// dismiss has a worker hand over and leave, which done tells.
func (w *world) dismiss(i int) (done <-chan struct{}) {
	wk := w.fire(i)
	w.note("dismiss %s", wk.name)
	wk.leave()
	w.leaving = append(w.leaving, wk.done)
	go func() {
		<-wk.done
		wk.nc.Close()
	}()
	return wk.done
}

// end stops everything.
func (w *world) end() {
	for _, wk := range w.workers {
		wk.leave()
	}
	for _, wk := range w.workers {
		<-wk.done
		wk.nc.Close()
		if wk.err != nil {
			w.t.Errorf("worker %s: %v", wk.name, wk.err)
		}
	}
	w.admin.nc.Close()
	w.broker.Stop()
	time.Sleep(time.Hour) // until all that waits for something has ended
}
