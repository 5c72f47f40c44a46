package delivery_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A broker that was killed brings back what stood behind a deletion: the record before
// one that was deleted, and messages that were acked (docs/adr/0032).

// reopen makes the lab's clients anew after a restart of the broker.
func (l *lab) reopen() {
	l.t.Helper()
	names := events.DefaultNames()
	var err error
	l.registry, err = channels.OpenRegistry(l.t.Context(), l.JS, names, l.catalog)
	testkit.Must(l.t, err)
	l.pub, err = publish.New(l.t.Context(), l.JS, names)
	testkit.Must(l.t, err)
	l.ledger, err = wire.OpenLedger(l.t.Context(), l.JS, names)
	testkit.Must(l.t, err)
}

func (l *lab) kill() {
	l.t.Helper()
	l.Kill(l.t)
	l.reopen()
}

func (l *lab) keepFiles(stream string) (putBack func()) {
	l.t.Helper()
	back := l.KeepFiles(l.t, stream)
	l.reopen()
	return func() {
		l.t.Helper()
		back()
		l.reopen()
	}
}

// forgetFloor sets the floor of the only partition back, as it is when a worker was
// killed before it wrote it.
func (l *lab) forgetFloor() {
	l.t.Helper()
	store, err := channels.OpenProgress(l.t.Context(), l.JS, events.DefaultNames())
	testkit.Must(l.t, err)
	p, revision, err := store.Read(l.t.Context(), "cal", 1, 0)
	testkit.Must(l.t, err)
	p.Floor = 0
	_, err = store.Write(l.t.Context(), "cal", 1, 0, p, revision)
	testkit.Must(l.t, err)
}

// outcomes returns what the log says of each version of a key, but for failed attempts.
func (l *lab) outcomes(key string) map[string][]events.Outcome {
	l.t.Helper()
	line, err := wire.History(l.t.Context(), l.JS, events.DefaultNames(), "cal", key, 0)
	testkit.Must(l.t, err)
	out := map[string][]events.Outcome{}
	for _, e := range line.Entries {
		if wire.Final(e.Outcome) {
			out[e.Version.String()] = append(out[e.Version.String()], e.Outcome)
		}
	}
	return out
}

func (l *lab) oneOutcomeEach(key string, versions int) {
	l.t.Helper()
	all := l.outcomes(key)
	if len(all) != versions {
		l.t.Errorf("%d versions of %s have an outcome, not %d", len(all), key, versions)
	}
	for v, got := range all {
		if len(got) != 1 {
			l.t.Errorf("version %s of %s has the outcomes %v", v, key, got)
		}
	}
}

// stored returns how many messages a stream has.
func (l *lab) stored(stream string) uint64 {
	l.t.Helper()
	s, err := l.JS.Stream(l.t.Context(), stream)
	testkit.Must(l.t, err)
	return s.CachedInfo().State.Msgs
}

func TestResetKeyHoldsWhenTheBrokerIsKilled(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, channel("cal", mode))
			w := l.work("a")
			l.allDelivered("cal", 2, 99)
			l.allDelivered("cal", 2, 100)
			testkit.Must(t, l.registry.ResetKey(t.Context(), "cal", "k0"))
			w.shutdown(t)
			for range 3 { // each kill may bring back what is older
				l.kill()
			}
			l.forgetFloor()
			l.push(update("cal", "k0", 1)) // 99 would be the head, and this one stale
			l.work("b")
			if ack := l.outcome("cal", "k0", 1); ack.Outcome != events.Delivered {
				t.Fatalf("not delivered: %+v", ack)
			}
			l.push(update("cal", "k0", 2))
			l.outcome("cal", "k0", 2)
			got := l.tg.versions("k0")
			if len(got) != 4 || got[2] != "1" || got[3] != "2" {
				t.Errorf("target got %v", got)
			}
		})
	}
}

// What was acked before a key was reset comes again when the ledger knows nothing of its
// versions any more.
func TestUpdatesOfAResetKeyThatComeBackAreVoid(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Every))
	for v := int64(8); v <= 10; v++ {
		l.push(update("cal", "k", v))
	}
	putBack := l.keepFiles(wire.UpdateStream(events.DefaultNames(), events.ToChannel("cal")))
	w := l.work("a")
	l.outcome("cal", "k", 10)
	l.eventually("the reset", func() bool { return l.registry.ResetKey(t.Context(), "cal", "k") == nil })
	w.shutdown(t)
	putBack()
	l.forgetFloor()
	l.work("b")
	l.eventually("the work queue to be empty", func() bool { return l.stored(wire.UpdateStream(events.DefaultNames(), events.ToChannel("cal"))) == 0 })
	l.oneOutcomeEach("k", 3)
	l.push(update("cal", "k", 1))
	l.outcome("cal", "k", 1)
	if got := l.tg.versions("k"); len(got) != 4 || got[3] != "1" {
		t.Errorf("target got %v", got)
	}
}

func TestSettledUpdatesOfAWorkQueueThatComeBackHaveOneOutcome(t *testing.T) {
	t.Parallel()
	const versions = 20 // more than a record lists
	l := newLab(t, channel("cal", channels.Every))
	for v := int64(1); v <= versions; v++ {
		l.push(update("cal", "k", v))
	}
	stream := wire.UpdateStream(events.DefaultNames(), events.ToChannel("cal"))
	putBack := l.keepFiles(stream)
	w := l.work("a")
	l.outcome("cal", "k", versions)
	w.shutdown(t)
	putBack()
	if n := l.stored(stream); n != versions {
		t.Fatalf("%d updates are back", n)
	}
	l.forgetFloor()
	l.work("b")
	l.eventually("the work queue to be empty", func() bool { return l.stored(stream) == 0 })
	l.oneOutcomeEach("k", versions)
	if got := l.tg.versions("k"); len(got) != versions {
		t.Errorf("target got %v", got)
	}
}

func TestSettledParkedUpdatesThatComeBackHaveOneOutcome(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Every)
	cfg.Window, cfg.Retry.MaxAttempts = 16, 1000
	l := newLab(t, cfg)
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "k" {
			return connectors.Failed(connectors.Transient, "500", errors.New("not yet"))
		}
		return connectors.Done()
	})
	w := l.work("a")
	const versions = 20
	for v := int64(1); v <= versions; v++ {
		l.push(update("cal", "k", v))
		l.push(update("cal", "other", v)) // another key gets through: the circuit stays closed
	}
	l.eventually("the key to be parked", func() bool { return parked(l) == versions })
	w.shutdown(t)
	putBack := l.keepFiles(wire.ParkedStream(events.DefaultNames()))
	l.tg.answerWith(nil)
	w = l.work("b")
	l.outcome("cal", "k", versions)
	l.eventually("the parked stream to be empty", func() bool { return parked(l) == 0 })
	w.shutdown(t)
	putBack()
	l.work("c")
	l.eventually("the parked stream to be empty again", func() bool { return parked(l) == 0 })
	l.oneOutcomeEach("k", versions)
	if got := l.tg.versions("k"); len(got) != versions {
		t.Errorf("target got %v", got)
	}
}

// A channel was swept, another one has its name: records that a killed broker brings
// back are those of the former.
func TestChannelOfAnOldNameKnowsNothingOfTheFormer(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, channel("cal", mode))
			l.put(channel("other", mode))
			w := l.work("a")
			l.allDelivered("other", 1, 1) // else the sweep would purge all of the bucket, which holds
			for _, v := range []int64{8, 9} {
				l.allDelivered("cal", 3, v) // each is in the ledger before the next
			}
			w.shutdown(t)
			e, err := l.registry.Get(t.Context(), "cal")
			testkit.Must(t, err)
			_, err = l.registry.Delete(t.Context(), "cal", e.Revision)
			testkit.Must(t, err)
			_, err = l.registry.Sweep(t.Context(), time.Now().Add(channels.DeletedRetention+time.Minute))
			testkit.Must(t, err)
			l.kill()
			if _, err := l.registry.Get(t.Context(), "cal"); !errors.Is(err, channels.ErrNotFound) {
				t.Fatalf("the swept channel: %v", err)
			}
			again := l.put(channel("cal", mode))
			if again.ID == e.ID || again.Generation <= e.Generation {
				t.Errorf("the new channel has the id or generation of the old one: %+v after %+v", again, e)
			}
			l.push(update("cal", "k0", 1)) // with 8 in the ledger it would be stale
			l.work("b")
			l.outcome("cal", "k0", 1)
			l.allDelivered("cal", 3, 2)
			// The first is of the other channel.
			if got := l.tg.versions("k0"); !slices.Equal(got, []string{"1", "8", "9", "1", "2"}) {
				t.Errorf("target got %v, not 1 8 9 1 2", got)
			}
		})
	}
}
