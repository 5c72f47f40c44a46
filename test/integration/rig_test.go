package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// fullVariable makes the tests of the engine run at their full size.
const fullVariable = "EXTSYNC_TEST_FULL"

// sized returns the size of a test: small in every run, full under make
// test-full. It says which, so that nobody takes one for the other.
func sized[T any](t testing.TB, what string, small, full T) T {
	t.Helper()
	size, name := small, "small"
	if os.Getenv(fullVariable) != "" {
		size, name = full, "full"
	}
	t.Logf("size (%s): %s: %v", name, what, size)
	return size
}

// leaseTTL of the workers of a rig: the shortest there is.
const leaseTTL = 2 * time.Second

// A rig is a broker with channels, workers in processes of their own, and a
// publisher that remembers what was accepted.
type rig struct {
	t        testing.TB
	crew     *faults.Crew
	url      string // where workers find the broker
	nc       *nats.Conn
	js       jetstream.JetStream
	names    events.Names
	registry *channels.Registry
	pub      *publish.Publisher
	ledger   *wire.Ledger
	lease    time.Duration // of its workers

	mu      sync.Mutex
	workers []*faults.Process
}

// newRig runs on a broker inside of the test's process.
func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigAt(t, faults.NewCrew(t), natstest.Run(t, natstest.Options{TCP: true}).URL(), 1)
}

// newRigAt runs on a broker that is there.
func newRigAt(t testing.TB, crew *faults.Crew, url string, replicas int) *rig {
	t.Helper()
	r := &rig{t: t, crew: crew, url: url, names: events.DefaultNames(), lease: leaseTTL}
	var err error
	r.nc, err = nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1))
	r.must(err)
	t.Cleanup(r.nc.Close)
	r.js, err = jetstream.New(r.nc)
	r.must(err)
	const small = 64 << 20 // several brokers share the disk
	storage := channels.Storage{Replicas: replicas, LedgerBytes: 16 * small, OutcomeBytes: 16 * small, DeadBytes: small, ParkedBytes: small, AckBytes: small}
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	r.must(channels.Provision(ctx, r.js, r.names, storage))
	r.registry, err = channels.OpenRegistry(ctx, r.js, r.names, kinds.All())
	r.must(err)
	r.pub, err = publish.New(ctx, r.js, r.names)
	r.must(err)
	r.ledger, err = wire.OpenLedger(ctx, r.js, r.names)
	r.must(err)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	testkit.Must(r.t, err)
}

// channel makes a channel to a target. Its retries are quick.
func (r *rig) channel(name string, mode channels.Mode, kind string, connector map[string]any, change ...func(*channels.Config)) {
	r.t.Helper()
	cfg := channels.Config{
		Name: name, Mode: mode, Partitions: 4, Concurrency: 16, MaxBytes: 256 << 20,
		Connector: channels.Connector{Kind: kind, Config: channels.NewRaw(connector)},
		Retry: channels.Retry{
			InitialBackoff: connectors.Duration(20 * time.Millisecond),
			MaxBackoff:     connectors.Duration(500 * time.Millisecond),
			MaxAttempts:    1000, // no dead letters where a test wants none
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), testkit.Patience)
	defer cancel()
	_, err := r.registry.Put(ctx, cfg, 0)
	r.must(err)
}

// worker starts a connector-worker that tells targets its name.
func (r *rig) worker(name string) *faults.Process {
	r.t.Helper()
	return r.workerAt(name, r.url)
}

// workerAt starts one that finds the broker somewhere else, behind a proxy.
func (r *rig) workerAt(name, url string) *faults.Process {
	r.t.Helper()
	p := r.crew.Start(r.t, faults.Spec{
		Name: name, Path: binary(r.t, "connector-worker"), Args: []string{"run"},
		Env: []string{
			"EXTSYNC_NATS_URL=" + url, "EXTSYNC_NATS_NAME=" + name, faults.WorkerVariable + "=" + name,
			"EXTSYNC_WORKER_LEASE_TTL=" + r.lease.String(), "EXTSYNC_WORKER_DRAIN_TIMEOUT=10s",
		},
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.workers = append(r.workers, p)
	return p
}

// stopWorkers asks all workers to end, and waits: what they know is in the
// ledger then.
func (r *rig) stopWorkers() {
	r.t.Helper()
	r.mu.Lock()
	workers := r.workers
	r.workers = nil
	r.mu.Unlock()
	for _, w := range workers {
		w.Thaw()
		w.Terminate()
	}
	for _, w := range workers {
		code, err := w.ExitCode(testkit.Patience)
		r.must(err)
		if code > 0 { // below 0: killed by the test
			r.t.Errorf("worker %s ended with exit code %d", w.Name, code)
		}
	}
}

// settled waits until every accepted update of a channel has an outcome.
func (r *rig) settled(channel string, accepted []faults.Accepted, most time.Duration) *faults.LogReader {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), most)
	defer cancel()
	log := faults.NewLogReader(r.js, r.names, channel)
	r.must(log.Await(ctx, accepted))
	return log
}

// progressWithin bounds how long after the last fault a partition may settle
// nothing although it has something to do.
const progressWithin = 30 * time.Second

// progresses finds partitions of a channel that stand still: they have updates
// without an outcome, and none of these gets one within progressWithin of healed.
func (r *rig) progresses(channel string, partitions int, accepted []faults.Accepted, healed time.Time) {
	r.t.Helper()
	log := faults.NewLogReader(r.js, r.names, channel)
	var waiting map[int][]faults.Accepted // of each partition that has not moved yet
	ctx, cancel := context.WithDeadline(r.t.Context(), healed.Add(progressWithin))
	defer cancel()
	for waiting == nil || len(waiting) > 0 {
		err := log.CatchUp(ctx)
		if err == nil && waiting == nil {
			waiting = pending(log, partitions, accepted)
		}
		for p, list := range waiting {
			if slices.ContainsFunc(list, log.Settled) {
				delete(waiting, p)
			}
		}
		if ctx.Err() != nil {
			for p, list := range waiting {
				r.t.Errorf("channel %s: partition %d stands still: %d updates have no outcome, and none got one within %s of the last fault", channel, p, len(list), progressWithin)
			}
			if waiting == nil {
				r.t.Errorf("channel %s: its outcomes cannot be read: %v", channel, err)
			}
			return
		}
		waitFor(ctx, 100*time.Millisecond)
	}
}

// pending returns the updates that have no outcome, by partition.
func pending(log *faults.LogReader, partitions int, accepted []faults.Accepted) map[int][]faults.Accepted {
	out := map[int][]faults.Accepted{}
	for _, a := range accepted {
		enc, err := events.EncodeKey(a.Key)
		if err != nil || a.Uncertain || log.Settled(a) {
			continue
		}
		p := wire.Partition(enc, partitions)
		out[p] = append(out[p], a)
	}
	return out
}

// recorder is a target that can tell what it has seen.
type recorder func() (faults.History, error)

// check proves the guarantees once all is settled, and stops the workers.
func (r *rig) check(channel string, mode channels.Mode, accepted []faults.Accepted, target recorder) {
	r.t.Helper()
	log := r.settled(channel, accepted, settleWithin)
	// The ledger follows the log, after a kill only when a successor has taken
	// over: a worker that is stopped before leaves that to the next one.
	testkit.Eventually(r.t, "the ledger to have what the log has", func() bool { return r.ledgerFollows(log) })
	r.stopWorkers()
	r.verify(log, mode, accepted, target)
}

func (r *rig) ledgerFollows(log *faults.LogReader) bool {
	r.must(log.CatchUp(r.t.Context()))
	r.must(log.ReadLedger(r.t.Context()))
	for key, rec := range log.Records {
		held := log.Ledger[key]
		if held.Applied.Tag != rec.Applied.Tag || held.Settled != rec.Settled {
			return false
		}
	}
	return true
}

// settleWithin bounds how long it may take until everything has an outcome, after
// publishing and faults have ended.
const settleWithin = 2 * time.Minute

// verify proves the guarantees; the workers have stopped.
func (r *rig) verify(log *faults.LogReader, mode channels.Mode, accepted []faults.Accepted, target recorder) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), settleWithin)
	defer cancel()
	r.must(log.CatchUp(ctx))
	r.must(log.ReadLedger(ctx))
	history, err := target()
	r.must(err)
	if err := faults.Check(history, accepted, &log.Outcomes, mode); err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("checked: %d accepted, %d log entries, %d writes, %d calls", len(accepted), len(log.Entries), len(history.Writes), len(history.Calls))
}

// accept publishes one update.
func (r *rig) accept(u events.Update) faults.Accepted {
	r.t.Helper()
	_, err := r.pub.Publish(r.t.Context(), u)
	r.must(err)
	return faults.Accepted{Key: u.Key, Tag: u.Tag()}
}

// pass lets time pass.
func (r *rig) pass(d time.Duration) { waitFor(r.t.Context(), d) }

func waitFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// outcome waits until the ledger knows what became of a version.
func (r *rig) outcome(u events.Update) events.Ack {
	r.t.Helper()
	var ack events.Ack
	testkit.Eventually(r.t, fmt.Sprintf("an outcome of %s version %s", u.Key, u.Version), func() bool {
		var err error
		ack, err = r.pub.Outcome(r.t.Context(), u.Channel, u.Key, u.Tag())
		if err != nil && !errors.Is(err, events.ErrNoRecord) && !wire.IsUnavailable(err) {
			r.t.Fatal(err)
		}
		return err == nil
	})
	return ack
}
