package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// allDelivered pushes one version of some keys and waits for the outcomes.
func (l *lab) allDelivered(channel string, keys int, version int64) {
	l.t.Helper()
	for k := range keys {
		l.push(update(channel, fmt.Sprint("k", k), version))
	}
	for k := range keys {
		if ack := l.outcome(channel, fmt.Sprint("k", k), version); ack.Outcome != events.Delivered {
			l.t.Fatalf("not delivered: %+v", ack)
		}
	}
}

func TestPartitionsCanBeChangedWhileWorkersRun(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, channel("cal", mode))
			l.work("a")
			l.work("b")
			const keys = 30
			version := int64(0)
			for _, partitions := range []int{1, 4, 16, 1} {
				cfg := channel("cal", mode)
				cfg.Partitions = partitions
				if e := l.put(cfg); e.Config.Partitions != partitions || e.Gated {
					t.Fatalf("the partitions are not changed, or the channel is still gated: %+v", e)
				}
				version++
				l.allDelivered("cal", keys, version)
				l.eventually("a consumer with its filter for each partition", func() bool { return l.consumersOf("cal", partitions) })
			}
			for k := range keys {
				if got := l.tg.versions(fmt.Sprint("k", k)); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
					t.Fatalf("key k%d got %v", k, got)
				}
			}
		})
	}
}

// consumersOf reports whether each partition of a channel has one consumer, with one filter,
// and the only one with none.
func (l *lab) consumersOf(channel string, partitions int) bool {
	l.t.Helper()
	names := events.DefaultNames()
	want := map[string]int{}
	for p := range partitions {
		want[wire.PartitionUpdates(names, events.ToChannel(channel), p, partitions)]++
	}
	if partitions == 1 {
		want = map[string]int{"": 1}
	}
	stream, err := l.JS.Stream(l.t.Context(), wire.UpdateStream(names, events.ToChannel(channel)))
	testkit.Must(l.t, err)
	got := map[string]int{}
	list := stream.ListConsumers(l.t.Context())
	for c := range list.Info() {
		if len(c.Config.FilterSubjects) > 0 {
			l.t.Fatalf("consumer %s has the filters %v", c.Name, c.Config.FilterSubjects)
		}
		got[c.Config.FilterSubject]++
	}
	testkit.Must(l.t, list.Err())
	return maps.Equal(got, want)
}

func TestPartitionsOfACrashedWorkerCannotBeChangedUntilSomebodyCleansUp(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	names := events.DefaultNames()
	store, err := channels.OpenProgress(t.Context(), l.JS, names)
	testkit.Must(t, err)
	// What a worker leaves that was killed.
	_, err = store.Write(t.Context(), "cal", 1, 0, channels.Progress{Worker: "gone"}, 0)
	testkit.Must(t, err)
	cfg := channel("cal", channels.Latest)
	cfg.Partitions = 4
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // all but the wait is done by then
	defer cancel()
	if _, err := l.registry.Put(ctx, cfg, 1); !errors.Is(err, channels.ErrNotDrained) {
		t.Fatalf("got %v", err)
	}
	l.work("a")
	l.put(cfg)
	l.allDelivered("cal", 10, 1)
}

func TestDeletedChannelRefusesUpdatesAndCanBeRestored(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	w := l.work("a")
	l.allDelivered("cal", 3, 1)
	e, err := l.registry.Get(t.Context(), "cal")
	testkit.Must(t, err)
	e, err = l.registry.Delete(t.Context(), "cal", e.Revision)
	testkit.Must(t, err)
	if _, err := l.pub.Publish(t.Context(), update("cal", "k0", 2)); !errors.Is(err, events.ErrChannelDeleted) {
		t.Fatalf("publish to a deleted channel: %v", err)
	}
	if _, err := l.registry.Put(t.Context(), e.Config, e.Revision); !errors.Is(err, channels.ErrDeleted) {
		t.Fatalf("put of a deleted channel: %v", err)
	}
	_, err = l.registry.Restore(t.Context(), "cal")
	testkit.Must(t, err)
	l.allDelivered("cal", 3, 2)
	if got := w.Stats()["cal"].Outcomes[events.Delivered]; got != 6 {
		t.Fatalf("%d delivered", got)
	}
}

func TestSweepRemovesAllOfAChannelThatWasDeletedLongAgo(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	l.put(channel("other", channels.Latest))
	w := l.work("a")
	l.allDelivered("cal", 3, 1)
	l.allDelivered("other", 3, 1)
	w.shutdown(t)
	e, err := l.registry.Get(t.Context(), "cal")
	testkit.Must(t, err)
	_, err = l.registry.Delete(t.Context(), "cal", e.Revision)
	testkit.Must(t, err)
	swept, err := l.registry.Sweep(t.Context(), time.Now())
	testkit.Must(t, err)
	if len(swept) != 0 {
		t.Fatalf("swept %v too early", swept)
	}
	swept, err = l.registry.Sweep(t.Context(), time.Now().Add(channels.DeletedRetention+time.Minute))
	testkit.Must(t, err)
	if !slices.Equal(swept, []string{"cal"}) {
		t.Fatalf("swept %v", swept)
	}
	if _, err := l.registry.Get(t.Context(), "cal"); !errors.Is(err, channels.ErrNotFound) {
		t.Fatalf("get: %v", err)
	}
	if _, err := l.ledger.Get(t.Context(), "cal", "k0"); !errors.Is(err, events.ErrNoRecord) {
		t.Fatalf("ledger: %v", err)
	}
	if _, err := l.ledger.Get(t.Context(), "other", "k0"); err != nil {
		t.Fatalf("ledger of the other channel: %v", err)
	}
	l.put(channel("cal", channels.Every)) // a new channel of the old name
	l.work("b")
	l.allDelivered("cal", 3, 1)
}

func TestPausedChannelKeepsItsUpdates(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Every))
	l.work("a")
	l.allDelivered("cal", 3, 1)
	_, err := l.registry.Pause(t.Context(), "cal")
	testkit.Must(t, err)
	l.eventually("the partition to be handed over", func() bool {
		store, err := channels.OpenProgress(t.Context(), l.JS, events.DefaultNames())
		testkit.Must(t, err)
		p, _, err := store.Read(t.Context(), "cal", 1, 0)
		return err == nil && p.Clean
	})
	l.push(update("cal", "k0", 2))
	if n := l.undelivered("cal"); n != 1 {
		t.Fatalf("%d undelivered", n)
	}
	_, err = l.registry.Resume(t.Context(), "cal")
	testkit.Must(t, err)
	if ack := l.outcome("cal", "k0", 2); ack.Outcome != events.Delivered {
		t.Fatalf("not delivered: %+v", ack)
	}
}

func TestResetKeyLetsVersionsStartAnew(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, channel("cal", mode))
			if err := l.registry.ResetKey(t.Context(), "cal", "k0"); !errors.Is(err, channels.ErrNoOwner) {
				t.Fatalf("without a worker: %v", err)
			}
			w := l.work("a")
			l.allDelivered("cal", 1, 100)
			if _, err := l.pub.Publish(t.Context(), update("cal", "k0", 1)); !errors.Is(err, events.ErrStale) {
				t.Fatalf("before the reset: %v", err)
			}
			testkit.Must(t, l.registry.ResetKey(t.Context(), "cal", "k0"))
			l.eventually("the ledger to forget the key", func() bool {
				rec, err := l.ledger.Get(t.Context(), "cal", "k0")
				return err == nil && rec.Settled.IsZero()
			})
			l.allDelivered("cal", 1, 1)
			w.shutdown(t)
			l.work("b")
			l.allDelivered("cal", 1, 2)
		})
	}
}

func TestNearlyFullLatestChannelRefusesNewKeysOnly(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.MaxBytes = 1 << 20
	l := newLab(t, cfg)
	big := func(key string, version int64) events.Update {
		u := update("cal", key, version)
		u.Payload = make([]byte, 100<<10)
		return u
	}
	refused := 0
	for k := range 20 {
		_, err := l.pub.Publish(t.Context(), big(fmt.Sprint("k", k), 1))
		if errors.Is(err, events.ErrFull) {
			refused++
			break
		}
		testkit.Must(t, err)
	}
	if refused == 0 {
		t.Fatal("no key was refused")
	}
	for v := int64(2); v < 20; v++ {
		l.push(big("k0", v))
	}
}

func TestRateBoundsWhatGoesToTheTarget(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.Rate = 20
	l := newLab(t, cfg)
	for k := range 30 {
		l.push(update("cal", fmt.Sprint("k", k), 1))
	}
	started := time.Now()
	l.work("a")
	l.eventually("all to arrive", func() bool { return len(l.tg.history()) == 30 })
	if took := time.Since(started); took < time.Second {
		t.Fatalf("30 updates at 20 a second took only %s", took)
	}
}

func TestTwentyRefusalsInARowBlockTheChannel(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.Concurrency = 1
	l := newLab(t, cfg)
	l.tg.answerWith(func(connectors.Attempt) connectors.Result {
		return connectors.Failed(connectors.Permanent, "400", errors.New("the endpoint was moved"))
	})
	w := l.work("a")
	for k := range 100 {
		l.push(update("cal", fmt.Sprint("k", k), 1))
	}
	l.eventually("the block to be probed", func() bool { return w.Stats()["cal"].Probes > 0 })
	l.tg.answerWith(nil)
	l.eventually("the rest to arrive", func() bool { return len(l.tg.history()) >= 81 })
	if dead := w.Stats()["cal"].Outcomes[events.DeadLettered]; dead != 19 {
		t.Fatalf("%d dead letters", dead)
	}
}
