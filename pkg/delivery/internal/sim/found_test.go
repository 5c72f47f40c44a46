package sim_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/publish"
)

// What histories have found, each as short as it can be.

// inWorld runs a test in a world of its own where nothing happens by itself.
func inWorld(t *testing.T, change func(*plan), test func(*world)) {
	t.Helper()
	// The client keeps timers for later, which must not come from the bubble of another test.
	runtime.GC()
	runtime.GC()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, func(p *plan) {
			p.temper, p.older, p.workers, p.publishers, p.keys = temper{}, false, 1, 1, 30
			p.config.Partitions, p.config.Retry.MaxAttempts = 4, 20
			change(p)
		})
		defer w.end()
		test(w)
	})
}

// settles publishes updates and fails unless all of them settle, and nothing is left.
func (w *world) settles() {
	w.t.Helper()
	p := w.connect("p")
	defer p.nc.Close()
	pub, err := publish.New(w.t.Context(), p.js, w.names)
	testkit.Must(w.t, err)
	w.rounds++
	for n := range w.plan.keys {
		if u := w.update(keyOf(n), int64(w.rounds)); w.publishOne(pub, u) {
			w.story.accept(u)
		}
	}
	for _, look := range []func() error{w.unsettled, w.untidy, w.judge} {
		if err := w.await(tidyMost, time.Second, look); err != nil {
			w.t.Error(err)
		}
	}
}

func TestFailedRepartitionLeavesNothingClosed(t *testing.T) {
	inWorld(t, func(*plan) {}, func(w *world) {
		w.hire()
		w.settles()
		<-w.dismiss(0)
		store, err := channels.OpenProgress(w.t.Context(), w.admin.js, w.names)
		testkit.Must(w.t, err)
		p, revision, err := store.Read(w.t.Context(), channel, 1, 3)
		testkit.Must(w.t, err)
		p.Clean = false // as if its owner had died
		_, err = store.Write(w.t.Context(), channel, 1, 3, p, revision)
		testkit.Must(w.t, err)
		if err := w.repartition(w.readers[0]); !errors.Is(err, channels.ErrNotDrained) {
			w.t.Errorf("%v, want %v", err, channels.ErrNotDrained)
		}
		w.hire()
		w.settles()
	})
}

func TestPausedChannelIsRepartitioned(t *testing.T) {
	inWorld(t, func(*plan) {}, func(w *world) {
		w.hire()
		w.settles()
		w.kill(0)
		_, err := w.registry.Pause(context.Background(), channel)
		testkit.Must(w.t, err)
		w.hire()
		testkit.Must(w.t, w.repartition(w.readers[0]))
		testkit.Must(w.t, w.resume())
		w.settles()
	})
}

func TestHiddenMessageThatCameBackDoesNotStopItsPartition(t *testing.T) {
	inWorld(t, func(p *plan) { p.config.Mode, p.config.Partitions = channels.Every, 1 }, func(w *world) {
		w.hire()
		w.publishBroken("h", nats.Header{"Status": {"100"}}, nil)
		w.settles()
		w.broker.Restart(func() bool { return true })
		w.settles()
	})
}

func TestParkedUpdateThatCameBackIsRemoved(t *testing.T) {
	inWorld(t, func(p *plan) {
		p.temper.sick, p.parkAfter = map[string]span{keyOf(0): {0, 10 * time.Second}}, 2*time.Second
	}, func(w *world) {
		w.hire()
		w.settles()
		w.broker.Restart(func() bool { return true })
		if n := len(w.broker.MessagesAfter(wire.ParkedStream(w.names), 0)); n == 0 {
			w.t.Fatal("nothing that was parked has come back")
		}
		w.settles()
	})
}
