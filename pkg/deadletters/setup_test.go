package deadletters_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A target is an external system in memory that remembers what it took.
type target struct {
	mu     sync.Mutex
	writes map[string][]string // versions by key, in order
	answer func(connectors.Attempt) connectors.Result
	failed chan struct{} // an attempt has failed
}

func (tg *target) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	out := make([]connectors.Result, len(attempts))
	for i, a := range attempts {
		tg.mu.Lock()
		answer := tg.answer
		tg.mu.Unlock()
		out[i] = answer(a)
		if out[i].Class == connectors.OK && ctx.Err() == nil {
			tg.mu.Lock()
			tg.writes[a.Key] = append(tg.writes[a.Key], a.Version.String())
			tg.mu.Unlock()
		} else if out[i].Class != connectors.OK {
			select {
			case tg.failed <- struct{}{}:
			default:
			}
		}
	}
	return out
}

func (tg *target) Close(context.Context) error { return nil }

// takes lets the target accept everything.
func (tg *target) takes() {
	tg.answers(func(connectors.Attempt) connectors.Result { return connectors.Done() })
}

// others is a key that refuses leaves alone.
const others = "others"

// refuses lets the target give one answer to everything but others.
func (tg *target) refuses(class connectors.Class, code string) {
	tg.answers(func(a connectors.Attempt) connectors.Result {
		if a.Key == others {
			return connectors.Done()
		}
		return connectors.Failed(class, code, errors.New("no thanks"))
	})
}

func (tg *target) answers(f func(connectors.Attempt) connectors.Result) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	tg.answer = f
}

// versions returns what was written of a key, in order.
func (tg *target) versions(key string) []string {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	return append([]string(nil), tg.writes[key]...)
}

// A lab is a broker with one channel named cal, a target that takes everything, a
// publisher, and the dead letters.
type lab struct {
	*natstest.Broker
	t       testing.TB
	names   events.Names
	tg      *target
	catalog *connectors.Catalog
	reg     *channels.Registry
	pub     *publish.Publisher
	ledger  *wire.Ledger
	store   *deadletters.Replayer
}

func newLab(t testing.TB, mode channels.Mode) *lab {
	t.Helper()
	l := &lab{
		Broker: natstest.Run(t), t: t, names: events.DefaultNames(),
		tg: &target{failed: make(chan struct{}, 1), writes: map[string][]string{}},
	}
	l.tg.takes()
	l.catalog = connectors.NewCatalog(connectors.Kind{
		Name:  "memory",
		Check: func([]byte) error { return nil },
		Open: func(context.Context, connectors.Env, []byte) (connectors.Connector, error) {
			return l.tg, nil
		},
	})
	testkit.Must(t, channels.Provision(t.Context(), l.JS, l.names, channels.Storage{}))
	var err error
	l.reg, err = channels.OpenRegistry(t.Context(), l.JS, l.names, l.catalog)
	testkit.Must(t, err)
	for _, name := range []string{"cal", "other"} {
		_, err = l.reg.Put(t.Context(), channels.Config{
			Name: name, Mode: mode, Connector: channels.Connector{Kind: "memory"},
			Retry: channels.Retry{
				MaxAttempts:    3,
				InitialBackoff: connectors.Duration(5 * time.Millisecond), MaxBackoff: connectors.Duration(50 * time.Millisecond),
			},
		}, 0)
		testkit.Must(t, err)
	}
	l.pub, err = publish.New(t.Context(), l.JS, l.names)
	testkit.Must(t, err)
	l.ledger, err = wire.OpenLedger(t.Context(), l.JS, l.names)
	testkit.Must(t, err)
	store, err := deadletters.Open(t.Context(), l.JS, l.names)
	testkit.Must(t, err)
	l.store = store.Replayer(l.reg)
	return l
}

// work starts a worker that ends with the test, or when the returned function is
// called.
func (l *lab) work(id string) (stop func()) {
	l.t.Helper()
	w, err := delivery.New(delivery.Options{
		JS: l.JS, Catalog: l.catalog, ID: id, LeaseTTL: 2 * time.Second, DrainTimeout: 5 * time.Second,
		Logger: zerolog.New(zerolog.NewTestWriter(l.t)).Level(zerolog.ErrorLevel),
	})
	testkit.Must(l.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				l.t.Errorf("worker %s: %v", id, err)
			}
		case <-time.After(testkit.Patience):
			l.t.Errorf("worker %s does not stop", id)
		}
	})
	l.t.Cleanup(stop)
	return stop
}

func update(key string, version int64) events.Update {
	data, _ := json.Marshal(map[string]any{"key": key, "version": version})
	return events.Update{Channel: "cal", Key: key, Version: testkit.Number(version), Payload: data}
}

// push publishes and must succeed.
func (l *lab) push(u events.Update) events.Receipt {
	l.t.Helper()
	r, err := l.pub.Publish(l.t.Context(), u)
	testkit.Must(l.t, err)
	return r
}

// settles waits until the ledger says that a version ended with an outcome.
func (l *lab) settles(key string, version int64, want events.Outcome) {
	l.t.Helper()
	var last events.Outcome
	l.eventually("version "+testkit.Number(version).String()+" of "+key+" to end as "+string(want), func() bool {
		rec, err := l.ledger.Get(l.t.Context(), "cal", key)
		if err != nil {
			return false
		}
		s, _ := rec.Find(versioning.Tag{Version: testkit.Number(version)})
		last = s.Outcome
		return last == want
	})
}

// delivered waits until the target holds exactly these versions of a key.
func (l *lab) delivered(key string, versions ...string) {
	l.t.Helper()
	l.eventually("the target to take "+key, func() bool { return len(l.tg.versions(key)) >= len(versions) })
	got := l.tg.versions(key)
	if !equal(got, versions) {
		l.t.Fatalf("target got %v of %s, want %v", got, key, versions)
	}
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// letters returns what a filter selects.
func (l *lab) letters(f deadletters.Filter) []deadletters.Entry {
	l.t.Helper()
	page, err := l.store.List(l.t.Context(), f, deadletters.MaxPage, 0)
	testkit.Must(l.t, err)
	return page.Entries
}

// letter waits until there is exactly one open letter of a key, and returns it.
// For a moment there may be two: a letter is read, then removed for another.
func (l *lab) letter(key string) deadletters.Entry {
	l.t.Helper()
	var found []deadletters.Entry
	l.eventually("a letter of "+key, func() bool {
		found = l.letters(deadletters.Filter{Channel: "cal", Key: key})
		return len(found) == 1
	})
	return found[0]
}

// gaveUp waits until a key is given up that the target refuses for now, and returns its
// letter. Another key gets through time and again meanwhile: while none does, a worker takes
// the target for the one at fault, and spends no attempts.
func (l *lab) gaveUp(key string) deadletters.Entry {
	l.t.Helper()
	version := int64(0)
	l.eventually(key+" to be given up", func() bool {
		version++
		l.push(update(others, version))
		return len(l.letters(deadletters.Filter{Channel: "cal", Key: key})) > 0
	})
	return l.letter(key)
}

// noLetter waits until no letter of a key is open.
func (l *lab) noLetter(key string) {
	l.t.Helper()
	l.eventually("no letter of "+key, func() bool {
		return len(l.letters(deadletters.Filter{Channel: "cal", Key: key})) == 0
	})
}

// giveUp has the target refuse a version for good, and lets it take everything
// again.
func (l *lab) giveUp(key string, version int64) deadletters.Entry {
	l.t.Helper()
	l.tg.refuses(connectors.Permanent, "422")
	l.push(update(key, version))
	l.settles(key, version, events.DeadLettered)
	l.tg.takes()
	return l.letter(key)
}

// eventually waits until a condition at the broker or the target holds.
func (l *lab) eventually(what string, holds func() bool) {
	l.t.Helper()
	testkit.Eventually(l.t, what, holds)
}
