package delivery

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lease"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/workers"
)

// applyFunc is a connector in one function.
type applyFunc func(context.Context, []connectors.Attempt) []connectors.Result

func (f applyFunc) Apply(ctx context.Context, a []connectors.Attempt) []connectors.Result {
	return f(ctx, a)
}

func (applyFunc) Close(context.Context) error { return nil }

// acceptAll is a target that takes everything.
func acceptAll(_ context.Context, attempts []connectors.Attempt) []connectors.Result {
	out := make([]connectors.Result, len(attempts))
	for i := range out {
		out[i] = connectors.Done()
	}
	return out
}

// A bench is a broker, provisioned, and a worker's manager that does not run:
// tests move its parts one at a time.
type bench struct {
	*natstest.Broker
	m *manager
}

func newBench(t testing.TB, apply applyFunc) *bench {
	t.Helper()
	b := natstest.Run(t)
	testkit.Must(t, channels.Provision(t.Context(), b.JS, events.DefaultNames(), channels.Storage{}))
	catalog := connectors.NewCatalog(connectors.Kind{
		Name:  "memory",
		Check: func([]byte) error { return nil },
		Open: func(context.Context, connectors.Env, []byte) (connectors.Connector, error) {
			return apply, nil
		},
	})
	w, err := New(Options{
		JS: b.JS, Catalog: catalog, ID: "w", LeaseTTL: 10 * time.Second,
		Logger: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel),
	})
	testkit.Must(t, err)
	broker, err := w.tryOpen(t.Context())
	testkit.Must(t, err)
	return &bench{Broker: b, m: newManager(w.o, broker, w.stats)}
}

// run puts a channel into the registry and opens it on the worker.
func (b *bench) run(t *testing.T, cfg channels.Config) *channelRun {
	t.Helper()
	e, err := b.m.b.registry.Put(t.Context(), cfg, 0)
	testkit.Must(t, err)
	r, err := openRun(t.Context(), b.m, e)
	testkit.Must(t, err)
	return r
}

// tenure leases the shard of a channel's first partition and returns a tenure of
// it that has not taken over yet.
func (b *bench) tenure(t *testing.T, r *channelRun) *tenure {
	t.Helper()
	le := b.lease(t, workers.Shard(r.entry.Config.Name, 0))
	ctx, fail := context.WithCancelCause(le.Context())
	t.Cleanup(func() { fail(errShuttingDown) })
	return newTenure(ctx, newPartition(r, 0, le), fail, 0)
}

// lease leases a shard for the worker.
func (b *bench) lease(t *testing.T, shard int) *lease.Lease {
	t.Helper()
	le, err := b.m.keeper.Acquire(t.Context(), shard)
	testkit.Must(t, err)
	t.Cleanup(func() { le.Stop(errShuttingDown) })
	b.m.leases[shard] = le
	return le
}

func memoryChannel(name string, mode channels.Mode) channels.Config {
	return channels.Config{Name: name, Mode: mode, Connector: channels.Connector{Kind: "memory"}}
}

// itemOf returns an update as it is once it was taken from the consumer.
func itemOf(key string, version int64) *lanes.Item {
	data, _ := json.Marshal(version)
	u := events.Update{Channel: "cal", Key: key, Version: testkit.Number(version), Payload: data, ID: "id"}
	return &lanes.Item{Update: u, Tag: u.Tag(), Seq: uint64(version), Came: time.Now()}
}

// at tells the lanes of events, or looks at them.
func (t *tenure) at(f func(m *lanes.Lanes)) {
	t.begin()
	defer t.end()
	f(t.lanes)
}

// attempt takes updates of one key in and returns their lane, as it is while the first of
// them is being attempted.
func (t *tenure) attempt(items ...*lanes.Item) *lanes.Lane {
	for _, it := range items {
		t.intake(it, items[0].Update.Key)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	batch, _ := t.lanes.Next(1, false)
	return batch[0]
}

// waits reports whether a lane waits for its next attempt, and when that is due.
func (t *tenure) waits() (due time.Time, waits bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lanes.NextDue()
}

// settle lets go of an update as if its outcome were in the log.
func (t *tenure) settle(it *lanes.Item) {
	t.commitAlone(lanes.Commit{Item: it}, it.Update.Key)
	t.letGo(t.commits.take(), 0)
}

// fenced reads the progress and fences the log, as taking over begins.
func (t *tenure) fenced(tt *testing.T) channels.Progress {
	tt.Helper()
	left, err := t.progress.Read(tt.Context())
	testkit.Must(tt, err)
	testkit.Must(tt, t.outcomes.Fence(tt.Context()))
	return left
}
