package delivery_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A target is an external system in memory. It remembers every write in order.
type target struct {
	mu     sync.Mutex
	writes []write
	calls  []string // keys, of all attempts
	// answer decides about an attempt; nil: everything is accepted.
	answer  func(connectors.Attempt) connectors.Result
	batch   int
	changed chan struct{}
}

type write struct {
	key     string
	version string
	op      events.Op
	attempt int
}

func newTarget() *target { return &target{changed: make(chan struct{}, 1), batch: 1} }

func (tg *target) Apply(_ context.Context, attempts []connectors.Attempt) []connectors.Result {
	out := make([]connectors.Result, len(attempts))
	for i, a := range attempts {
		out[i] = connectors.Done()
		tg.mu.Lock()
		tg.calls = append(tg.calls, a.Key)
		answer := tg.answer
		tg.mu.Unlock()
		if answer != nil {
			out[i] = answer(a)
		}
		if out[i].Class == connectors.OK {
			tg.mu.Lock()
			tg.writes = append(tg.writes, write{a.Key, a.Version.String(), a.Op, a.Number})
			tg.mu.Unlock()
		}
	}
	select {
	case tg.changed <- struct{}{}:
	default:
	}
	return out
}

func (tg *target) MaxBatch() int               { return tg.batch }
func (tg *target) Close(context.Context) error { return nil }

func (tg *target) answerWith(f func(connectors.Attempt) connectors.Result) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	tg.answer = f
}

func (tg *target) history() []write {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	return append([]write(nil), tg.writes...)
}

// attempts returns the key of each attempt, whatever came of it.
func (tg *target) attempts() []string {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	return append([]string(nil), tg.calls...)
}

// versions returns what was written of one key, in order.
func (tg *target) versions(key string) []string {
	var out []string
	for _, w := range tg.history() {
		if w.key == key {
			out = append(out, w.version)
		}
	}
	return out
}

func catalogOf(tg *target) *connectors.Catalog {
	return connectors.NewCatalog(connectors.Kind{
		Name: "memory", Capabilities: connectors.Capabilities{Batches: true, Remembers: true},
		Check: func([]byte) error { return nil },
		Open: func(context.Context, connectors.Env, []byte) (connectors.Connector, error) {
			return tg, nil
		},
	})
}

// A lab is a broker with one channel, a target and a publisher.
type lab struct {
	*natstest.Broker
	t        testing.TB
	tg       *target
	catalog  *connectors.Catalog
	registry *channels.Registry
	pub      *publish.Publisher
	ledger   *wire.Ledger

	surveying sync.Mutex
	survey    *channels.Survey // what backlog compares with
}

func newLab(t testing.TB, cfg channels.Config) *lab {
	t.Helper()
	l := &lab{Broker: natstest.Run(t, natstest.Options{TCP: true}), t: t, tg: newTarget()}
	l.catalog = catalogOf(l.tg)
	names := events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), l.JS, names, channels.Storage{}))
	var err error
	l.registry, err = channels.OpenRegistry(t.Context(), l.JS, names, l.catalog)
	testkit.Must(t, err)
	l.put(cfg)
	l.pub, err = publish.New(t.Context(), l.JS, names)
	testkit.Must(t, err)
	l.ledger, err = wire.OpenLedger(t.Context(), l.JS, names)
	testkit.Must(t, err)
	return l
}

func channel(name string, mode channels.Mode) channels.Config {
	return channels.Config{
		Name: name, Mode: mode, Connector: channels.Connector{Kind: "memory"},
		Retry: channels.Retry{
			InitialBackoff: connectors.Duration(5 * time.Millisecond),
			MaxBackoff:     connectors.Duration(50 * time.Millisecond),
		},
	}
}

// put stores a channel, whatever its revision.
func (l *lab) put(cfg channels.Config) channels.Entry {
	l.t.Helper()
	var revision uint64
	if old, err := l.registry.Get(l.t.Context(), cfg.Name); err == nil {
		revision = old.Revision
	}
	e, err := l.registry.Put(l.t.Context(), cfg, revision)
	testkit.Must(l.t, err)
	return e
}

// A running worker.
type running struct {
	*delivery.Worker
	stop context.CancelFunc
	done chan error
}

// work starts a worker that ends with the test.
func (l *lab) work(id string, change ...func(*delivery.Options)) *running {
	l.t.Helper()
	o := delivery.Options{
		JS: l.JS, Catalog: l.catalog, ID: id, LeaseTTL: 2 * time.Second, DrainTimeout: 5 * time.Second,
		Logger: zerolog.New(zerolog.NewTestWriter(l.t)).Level(zerolog.InfoLevel).With().Timestamp().Logger(),
	}
	for _, c := range change {
		c(&o)
	}
	w, err := delivery.New(o)
	testkit.Must(l.t, err)
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Worker: w, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- w.Run(ctx) }()
	l.t.Cleanup(func() { r.shutdown(l.t) })
	return r
}

// shutdown drains the worker and waits for it. It may be called twice.
func (r *running) shutdown(t testing.TB) {
	t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		r.done <- nil
		if err != nil {
			t.Errorf("worker %s: %v", r.ID(), err)
		}
	case <-time.After(testkit.Patience):
		t.Errorf("worker %s does not stop", r.ID())
	}
}

func update(channel, key string, version int64) events.Update {
	data, _ := json.Marshal(map[string]any{"key": key, "version": version})
	return events.Update{Channel: channel, Key: key, Version: testkit.Number(version), Payload: data}
}

// push publishes and must succeed.
func (l *lab) push(u events.Update) events.Receipt {
	l.t.Helper()
	r, err := l.pub.Publish(l.t.Context(), u)
	testkit.Must(l.t, err)
	return r
}

// request publishes and waits for the ack.
func (l *lab) request(u events.Update) events.Ack {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), testkit.Patience)
	defer cancel()
	_, ack, err := l.pub.Request(ctx, u)
	testkit.Must(l.t, err)
	return ack
}

// othersPass has another key of a channel get through, once one has failed: whoever fails
// is at fault then. That it is tried again shows that the worker knows of its failure.
func (l *lab) othersPass(channel, failing string) {
	l.t.Helper()
	l.eventually(failing+" to fail", func() bool {
		tries := 0
		for _, key := range l.tg.attempts() {
			if key == failing {
				tries++
			}
		}
		return tries > 1
	})
	if ack := l.request(update(channel, "others", time.Now().UnixNano())); ack.Outcome != events.Delivered {
		l.t.Fatalf("another key is not delivered: %+v", ack)
	}
}

// outcomeAmongOthers waits for the outcome of an update that fails, while another key of its
// channel gets through time and again: also after the worker has lost its lease.
func (l *lab) outcomeAmongOthers(channel, key string) events.Ack {
	l.t.Helper()
	var ack events.Ack
	var pushed time.Time
	l.eventually("an outcome of "+key, func() bool {
		if slices.Contains(l.tg.attempts(), key) && time.Since(pushed) > 100*time.Millisecond {
			pushed = time.Now()
			l.push(update(channel, "others", pushed.UnixNano()))
		}
		var err error
		ack, err = l.pub.Outcome(l.t.Context(), channel, key, versioning.Tag{Version: testkit.Number(1)})
		return err == nil
	})
	return ack
}

// outcome waits until the ledger knows what became of a version.
func (l *lab) outcome(channel, key string, version int64) events.Ack {
	l.t.Helper()
	var ack events.Ack
	l.eventually("an outcome of "+key, func() bool {
		var err error
		ack, err = l.pub.Outcome(l.t.Context(), channel, key, versioning.Tag{Version: testkit.Number(version)})
		return err == nil
	})
	return ack
}

// eventually waits until a condition at the broker or the target holds.
func (l *lab) eventually(what string, holds func() bool) {
	l.t.Helper()
	deadline := time.After(testkit.Patience)
	for !holds() {
		select {
		case <-deadline:
			l.t.Fatalf("not in %s: %s", testkit.Patience, what)
		case <-l.tg.changed:
		case <-time.After(20 * time.Millisecond):
		}
	}
}
