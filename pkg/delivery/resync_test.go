package delivery_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// resync starts one and must succeed.
func (l *lab) resync(s channels.Selection) channels.Resync {
	l.t.Helper()
	r, err := l.registry.StartResync(l.t.Context(), "cal", s)
	testkit.Must(l.t, err)
	return r
}

// resynced waits until the channel's resync is done.
func (l *lab) resynced() channels.ResyncStatus {
	l.t.Helper()
	var status channels.ResyncStatus
	l.eventually("the resync", func() bool {
		var err error
		status, err = l.registry.ResyncStatus(l.t.Context(), "cal")
		testkit.Must(l.t, err)
		return status.State == channels.ResyncDone
	})
	return status
}

func TestResyncDeliversTheCurrentVersionOfEachKeyAgain(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.Partitions = 4
	l := newLab(t, cfg)
	l.work("a")
	l.work("b")
	const keys = 50
	l.allDelivered("cal", keys, 1)
	l.allDelivered("cal", keys, 2)
	var again atomic.Int64
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Again {
			again.Add(1)
		}
		return connectors.Done()
	})
	if n, err := l.registry.CountResync(t.Context(), "cal", channels.Selection{}); err != nil || n != keys {
		t.Fatalf("count: %d, %v", n, err)
	}
	l.resync(channels.Selection{})
	status := l.resynced()
	if status.Delivered != keys || status.Skipped != 0 || status.Failed != 0 || again.Load() != keys {
		t.Fatalf("not each of the keys delivered once more: %+v, %d attempts", status, again.Load())
	}
	for k := range keys {
		if got := l.tg.versions(fmt.Sprint("k", k)); !slices.Equal(got, []string{"1", "2", "2"}) {
			t.Fatalf("key k%d got %v", k, got)
		}
	}
	l.allDelivered("cal", keys, 3)
	// Another one may follow, of some keys only.
	if n, err := l.registry.CountResync(t.Context(), "cal", channels.Selection{Prefix: "k1"}); err != nil || n != 11 {
		t.Fatalf("count: %d, %v", n, err)
	}
	l.resync(channels.Selection{Keys: []string{"k7", "k13", "unknown"}})
	if status := l.resynced(); status.Delivered != 2 {
		t.Fatalf("not 2 delivered: %+v", status)
	}
	if got := l.tg.versions("k13"); !slices.Equal(got, []string{"1", "2", "2", "3", "3"}) {
		t.Fatalf("k13 got %v", got)
	}
}

func TestResyncReportsWhatTheTargetRefusesAndLeavesTheLedgerAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	l.work("a")
	l.allDelivered("cal", 10, 1)
	before, err := l.ledger.Get(t.Context(), "cal", "k3")
	testkit.Must(t, err)
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		switch a.Key {
		case "k3":
			return connectors.Failed(connectors.Permanent, "no", errors.New("the target says no"))
		case "k4":
			return connectors.Failed(connectors.Transient, "tired", errors.New("the target is tired"))
		}
		return connectors.Done()
	})
	l.resync(channels.Selection{})
	status := l.resynced()
	if status.Delivered != 8 || status.Failed != 2 || len(status.Failures) != 2 {
		t.Fatalf("not 8 delivered and 2 failed: %+v", status)
	}
	after, err := l.ledger.Get(t.Context(), "cal", "k3")
	testkit.Must(t, err)
	if after.Applied != before.Applied || after.Seq != before.Seq {
		t.Fatalf("the record was %+v and is %+v", before, after)
	}
}

// Updates that come while a resync waits for the target take its place.
func TestLiveUpdatesGoAheadOfAResync(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.Concurrency = 1
	l := newLab(t, cfg)
	w := l.work("a")
	const keys = 20
	l.allDelivered("cal", keys, 1)
	var failing atomic.Bool
	failing.Store(true)
	l.tg.answerWith(func(connectors.Attempt) connectors.Result {
		if failing.Load() {
			return connectors.Result{Class: connectors.Misconfigured, Code: "login", Err: errors.New("the token has expired")}
		}
		return connectors.Done()
	})
	l.resync(channels.Selection{})
	l.eventually("the channel to be blocked", func() bool { return w.Stats()["cal"].Failed > 0 })
	for k := range keys {
		l.push(update("cal", fmt.Sprint("k", k), 2))
	}
	failing.Store(false)
	for k := range keys {
		if ack := l.outcome("cal", fmt.Sprint("k", k), 2); ack.Outcome != events.Delivered {
			t.Fatalf("not delivered: %+v", ack)
		}
	}
	status := l.resynced()
	if status.Failed != 0 || status.Looked() > keys { // what was replaced before it was read is live
		t.Fatalf("failures, or more than the keys looked at: %+v", status)
	}
	for k := range keys {
		got := l.tg.versions(fmt.Sprint("k", k))
		if got[len(got)-1] != "2" || !slices.IsSorted(got) {
			t.Fatalf("key k%d got %v", k, got)
		}
	}
}

func TestResyncCanBeStoppedAndGoesOnElsewhere(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.Concurrency = 2
	l := newLab(t, cfg)
	w := l.work("a")
	const keys = 200
	l.allDelivered("cal", keys, 1)
	passed, hold := make(chan struct{}, 2*keys), make(chan struct{})
	l.tg.answerWith(func(connectors.Attempt) connectors.Result {
		passed <- struct{}{}
		<-hold
		return connectors.Done()
	})
	l.resync(channels.Selection{})
	<-passed
	if _, err := l.registry.StartResync(t.Context(), "cal", channels.Selection{}); !errors.Is(err, channels.ErrResyncActive) {
		t.Fatalf("a second resync: %v", err)
	}
	_, err := l.registry.SetResync(t.Context(), "cal", channels.ResyncPaused)
	testkit.Must(t, err)
	close(hold)
	l.eventually("the calls in flight", func() bool { return len(l.tg.history()) > keys })
	w.shutdown(t)
	if n := len(l.tg.history()); n >= 2*keys {
		t.Fatalf("%d writes although it was paused", n)
	}
	_, err = l.registry.SetResync(t.Context(), "cal", channels.ResyncRunning)
	testkit.Must(t, err)
	l.work("b")
	l.resynced()
	for k := range keys {
		if got := l.tg.versions(fmt.Sprint("k", k)); len(got) < 2 {
			t.Fatalf("key k%d got %v", k, got)
		}
	}
	// One that is stopped stays stopped.
	l.tg.answerWith(nil)
	l.resync(channels.Selection{})
	if _, err := l.registry.SetResync(t.Context(), "cal", channels.ResyncStopped); err != nil && !errors.Is(err, channels.ErrNoResync) {
		t.Fatal(err)
	}
	if _, err := l.registry.SetResync(t.Context(), "cal", channels.ResyncRunning); !errors.Is(err, channels.ErrNoResync) {
		t.Fatalf("resume of a stopped resync: %v", err)
	}
}

func TestResyncIsRefusedWhereNothingIsKept(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Every))
	if _, err := l.registry.StartResync(t.Context(), "cal", channels.Selection{}); !errors.Is(err, channels.ErrNothingKept) {
		t.Fatalf("got %v", err)
	}
	if _, err := l.registry.ResyncStatus(t.Context(), "cal"); !errors.Is(err, channels.ErrNoResync) {
		t.Fatalf("got %v", err)
	}
	bad := channels.Selection{Keys: []string{"a"}, Prefix: "b"}
	if err := bad.Validate(); !errors.Is(err, channels.ErrSelection) {
		t.Fatalf("got %v", err)
	}
}
