package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// A call that never returns, whatever its context says, costs its own key and
// one call slot, and does not keep the worker from stopping.
func TestConnectorThatIgnoresItsContextIsIsolated(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.Timeout = connectors.Duration(50 * time.Millisecond)
	l := newLab(t, cfg)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "hung" {
			<-release
		}
		return connectors.Done()
	})
	w := l.work("a")
	l.push(update("cal", "hung", 1))
	l.allDelivered("cal", 20, 1)
	w.shutdown(t)
	if got := l.tg.versions("hung"); len(got) != 0 {
		t.Fatalf("target got %v", got)
	}
}

// One channel's target hangs while its updates fill what a worker may hold; the
// others finish, and memory stays within the budget.
func TestHangingTargetWithLargeUpdatesLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	slow := channel("c0", channels.Every)
	slow.MaxBytes = 512 << 20
	l := newLab(t, slow)
	const others = 8
	for c := range others {
		cfg := channel(fmt.Sprint("c", c+1), channels.Every)
		cfg.MaxBytes = 64 << 20
		l.put(cfg)
	}
	release := make(chan struct{})
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Channel == "c0" {
			<-release
		}
		return connectors.Done()
	})
	payload := make([]byte, 900<<10)
	push := func(c, k int) {
		u := update(fmt.Sprint("c", c), fmt.Sprint("k", k), 1)
		u.Payload = payload
		l.push(u)
	}
	for k := range 200 {
		push(0, k)
	}
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	// Renewals share the broker with some hundred megabytes: with the lease of other tests a
	// busy machine loses all shards, reads everything again, and loses them again.
	l.work("a", func(o *delivery.Options) { o.LeaseTTL = 10 * time.Second })
	for c := range others {
		for k := range 20 {
			push(c+1, k)
		}
	}
	var most uint64
	for c := range others {
		for k := range 20 {
			if ack := l.outcome(fmt.Sprint("c", c+1), fmt.Sprint("k", k), 1); ack.Outcome != events.Delivered {
				t.Fatalf("not delivered: %+v", ack)
			}
		}
		var now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
	}
	close(release)
	// The broker is in this process, too; what it caches is released later.
	t.Logf("live heap grew by %d MiB at most", most>>20)
	for k := range 200 {
		if ack := l.outcome("c0", fmt.Sprint("k", k), 1); ack.Outcome != events.Delivered {
			t.Fatalf("not delivered: %+v", ack)
		}
	}
}

// full makes a stream refuse everything, as one does that has reached its limit.
func (l *lab) full(stream string, most int64) {
	l.t.Helper()
	s, err := l.JS.Stream(l.t.Context(), stream)
	testkit.Must(l.t, err)
	cfg := s.CachedInfo().Config
	cfg.MaxBytes = most
	_, err = l.JS.UpdateStream(l.t.Context(), cfg)
	testkit.Must(l.t, err)
}

func TestFullLedgerStopsTheChannelAndNothingIsLost(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Every))
	names := events.DefaultNames()
	l.full(wire.KVStream(wire.LedgerBucket(names)), 2000)
	l.work("a")
	for k := range 100 {
		l.push(update("cal", fmt.Sprint("k", k), 1))
	}
	l.eventually("some deliveries", func() bool { return len(l.tg.history()) > 0 })
	stalled := func() bool {
		n := len(l.tg.history())
		for k := range 100 { // more work for as long as it is taken
			l.push(update("cal", fmt.Sprint("k", k), int64(2+n)))
		}
		time.Sleep(2 * time.Second) //nolint:forbidigo // nothing signals that nothing happens
		return len(l.tg.history()) == n
	}
	tries := 0
	for ; tries < 5 && !stalled(); tries++ {
	}
	if tries == 5 {
		t.Fatal("a channel whose ledger is full takes on new updates")
	}
	l.full(wire.KVStream(wire.LedgerBucket(names)), 64<<20)
	l.eventually("all to be settled", func() bool {
		return l.undelivered("cal") == 0
	})
	for k := range 100 {
		if ack := l.outcome("cal", fmt.Sprint("k", k), 1); ack.Outcome != events.Delivered {
			t.Fatalf("not delivered: %+v", ack)
		}
	}
}

func TestFullDeadLetterStreamHoldsTheUpdateUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	names := events.DefaultNames()
	l.full(wire.DeadStream(names), 10)
	l.tg.answerWith(func(connectors.Attempt) connectors.Result {
		return connectors.Failed(connectors.Permanent, "400", errors.New("no"))
	})
	w := l.work("a")
	l.push(update("cal", "k", 1))
	l.eventually("the worker says that the broker takes no dead letter", func() bool {
		return slices.ContainsFunc(w.Status().Waits, func(wait workers.Wait) bool { return wait.Code == why.BrokerRefuses })
	})
	if _, err := l.pub.Outcome(context.Background(), "cal", "k", versioning.Tag{Version: testkit.Number(1)}); !errors.Is(err, events.ErrNoRecord) {
		t.Fatalf("outcome without a dead letter: %v", err)
	}
	l.full(wire.DeadStream(names), 1<<20)
	if ack := l.outcome("cal", "k", 1); ack.Outcome != events.DeadLettered {
		t.Fatalf("not dead-lettered: %+v", ack)
	}
	if n := len(l.tg.attempts()); n != 1 { // the letter was stored later, and the target not asked again
		t.Errorf("%d attempts, want one", n)
	}
}
