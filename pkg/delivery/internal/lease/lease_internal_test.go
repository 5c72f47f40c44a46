package lease

import (
	"errors"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestHowLongARevisionIsKnownToBeThere(t *testing.T) {
	begin, broker := time.Now(), time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)
	var s sightings
	look := func(after time.Duration, last uint64) {
		s.add(sighting{at: begin.Add(after), last: last, stored: broker.Add(after)})
	}
	expect := func(what string, after time.Duration, revision uint64, stored, want time.Duration) {
		t.Helper()
		if got := s.unchanged(revision, broker.Add(stored), begin.Add(after)); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	expect("nothing was seen", 0, 1, 0, 0)
	look(time.Second, 10)
	look(2*time.Second, 14)
	look(3*time.Second, 18)
	expect("seen at the first look", 4*time.Second, 10, time.Second, 3*time.Second)
	expect("seen at the second", 4*time.Second, 11, 1500*time.Millisecond, 2*time.Second)
	expect("not seen yet", 4*time.Second, 19, 4*time.Second, 0)
	expect("a revision that was given again", 4*time.Second, 10, 3500*time.Millisecond, 0)
	look(4*time.Second, 12)
	expect("the broker has lost its newest records", 5*time.Second, 10, time.Second, time.Second)
	for i := range 1000 {
		look(time.Minute+time.Duration(i)*time.Second, 20)
	}
	if len(s) > int(MaxTTL/time.Second)+2 {
		t.Errorf("%d sightings are kept", len(s))
	}
	expect("older than any lease", time.Minute+999*time.Second, 10, time.Second, MaxTTL)
}

// newBroker returns a broker with the buckets of a deployment.
func newBroker(t *testing.T) *natstest.Broker {
	t.Helper()
	b := natstest.Run(t)
	testkit.Must(t, channels.Provision(t.Context(), b.JS, events.DefaultNames(), channels.Storage{}))
	return b
}

// keeper returns a keeper of a process of some worker.
func keeper(b *natstest.Broker, owner, session string) *Keeper {
	return NewKeeper(Options{
		JS: b.JS, Bucket: wire.LeasesBucket(events.DefaultNames()), Owner: owner, Session: session, TTL: leaseOfTests, Margin: leaseOfTests / 8,
	})
}

// leaseOfTests is the shortest that there is.
const leaseOfTests = 2 * time.Second

// takes waits until a keeper gets a shard, and returns how long that took.
func takes(t *testing.T, k *Keeper, shard int) (*Lease, time.Duration) {
	t.Helper()
	var le *Lease
	began := time.Now()
	testkit.Eventually(t, "the lease", func() bool {
		testkit.Must(t, k.Look(t.Context()))
		var err error
		le, err = k.Acquire(t.Context(), shard)
		if err != nil && !errors.Is(err, ErrHeld) {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() { le.Stop(ErrReleased) })
	return le, time.Since(began)
}

// A record of a lease whose owner is gone refused its shard to everybody for ever
// when it had no lifetime, and a broker that was killed brings back such records.
func TestLeaseIsTakenFromAnOwnerThatIsGone(t *testing.T) {
	b := newBroker(t)
	for name, record := range map[string]string{
		"another worker":                  `{"f":1,"owner":"gone","session":"s","ttl":2}`,
		"an earlier process of this name": `{"f":1,"owner":"b","session":"s","ttl":2}`,
		"nobody knows":                    ``,
	} {
		_, err := b.JS.Publish(t.Context(), keeper(b, "", "").subject(1), []byte(record))
		testkit.Must(t, err)
		if _, took := takes(t, keeper(b, "b", name), 1); took < leaseOfTests || took > testkit.Patience/2 {
			t.Errorf("%s: the lease was taken after %s", name, took)
		}
	}
	handedOver := keeper(b, "a", "")
	le, took := takes(t, handedOver, 2)
	if took >= leaseOfTests {
		t.Errorf("there was no record, and the lease was taken after %s", took)
	}
	testkit.Must(t, handedOver.Release(t.Context(), le))
	if _, took := takes(t, keeper(b, "b", ""), 2); took >= leaseOfTests {
		t.Errorf("it was handed over and taken after %s", took)
	}
}

func TestLeaseThatIsRenewedIsNotTaken(t *testing.T) {
	b := newBroker(t)
	ctx := t.Context()
	a, c := keeper(b, "a", "s1"), keeper(b, "c", "s2")
	le, _ := takes(t, a, 1)
	for begin := time.Now(); time.Since(begin) < 3*leaseOfTests/2; {
		testkit.Must(t, a.Renew(ctx, le))
		testkit.Must(t, c.Look(ctx))
		if _, err := c.Acquire(ctx, 1); !errors.Is(err, ErrHeld) {
			t.Fatalf("after %s: %v", time.Since(begin), err)
		}
		<-time.After(leaseOfTests / 8)
	}
	got, took := takes(t, c, 1)
	if le.Alive() {
		t.Errorf("the owner's time was not over when its lease was taken after %s", took)
	}
	if got.epoch <= le.epoch {
		t.Errorf("epoch %d after %d", got.epoch, le.epoch)
	}
	// A process of the same name that was frozen does not get it back.
	again := keeper(b, "c", "s1")
	stale := &Lease{shard: 1, revision: le.currentRevision(), ctx: le.ctx, end: le.end}
	if err := again.Renew(ctx, stale); !errors.Is(err, ErrLost) {
		t.Errorf("another process of the same name renews it: %v", err)
	}
	testkit.Must(t, c.Renew(ctx, got))
}

// An answer that was lost must not cost the lease.
func TestLeaseWhoseRenewalWasNotAnsweredIsRenewed(t *testing.T) {
	b := newBroker(t)
	a := keeper(b, "a", "s")
	le, _ := takes(t, a, 1)
	_, err := a.write(t.Context(), 1, "a", le.currentRevision())
	testkit.Must(t, err)
	testkit.Must(t, a.Renew(t.Context(), le))
}

// The broker's clock is set back by an hour after a worker wrote its lease and died.
// What others write since seems older, and for an hour the lease could not be had.
func TestBrokersClockSetBackHoldsNoLease(t *testing.T) {
	k := NewKeeper(Options{TTL: 4 * time.Second})
	now := time.Unix(1_000_000, 0)
	dead := stored{record: record{Owner: "gone", TTL: 4}, revision: 100, stored: now}
	for i := range 4 {
		at := now.Add(time.Duration(i) * time.Second)
		k.seen.add(sighting{at: at, last: uint64(101 + i), stored: at.Add(-time.Hour)})
		if wait, want := k.heldFor(3, dead, at), time.Duration(4-i)*time.Second; wait != want {
			t.Errorf("after %d s it is held for %s, want %s", i, wait, want)
		}
	}
	if wait := k.heldFor(3, dead, now.Add(4*time.Second)); wait != 0 {
		t.Errorf("it is held for %s after nobody has renewed it for its time", wait)
	}
	renewed := dead
	renewed.revision, renewed.stored = 105, now.Add(-time.Hour)
	if wait := k.heldFor(3, renewed, now.Add(4*time.Second)); wait != 4*time.Second {
		t.Errorf("a lease that was renewed is held for %s, want 4 s", wait)
	}
}
