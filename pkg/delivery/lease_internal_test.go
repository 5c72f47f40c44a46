package delivery

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
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
	if len(s) > int(MaxLeaseTTL/time.Second)+2 {
		t.Errorf("%d sightings are kept", len(s))
	}
	expect("older than any lease", time.Minute+999*time.Second, 10, time.Second, MaxLeaseTTL)
}

// A leaser of a bench, beside that of its manager.
func (b *bench) leaser(owner, session string) *leaser {
	l := *b.m.leaser
	l.owner, l.session, l.ttl, l.margin, l.seen = owner, session, leaseOfTests, leaseOfTests/8, nil
	return &l
}

// leaseOfTests is the shortest that there is.
const leaseOfTests = 2 * time.Second

// takes waits until a leaser gets a shard, and returns how long that took.
func takes(t *testing.T, l *leaser, shard int) (*lease, time.Duration) {
	t.Helper()
	var le *lease
	began := time.Now()
	testkit.Eventually(t, "the lease", func() bool {
		testkit.Must(t, l.look(t.Context()))
		var err error
		le, err = l.acquire(t.Context(), shard)
		if err != nil && !errors.Is(err, errLeaseHeld) {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() { le.stop(errShuttingDown) })
	return le, time.Since(began)
}

// A record of a lease whose owner is gone refused its shard to everybody for ever
// when it had no lifetime, and a broker that was killed brings back such records.
func TestLeaseIsTakenFromAnOwnerThatIsGone(t *testing.T) {
	b := newBench(t, acceptAll)
	for name, record := range map[string]string{
		"another worker":                  `{"f":1,"owner":"gone","session":"s","ttl":2}`,
		"an earlier process of this name": `{"f":1,"owner":"b","session":"s","ttl":2}`,
		"nobody knows":                    ``,
	} {
		_, err := b.JS.Publish(t.Context(), b.m.leaser.subject(1), []byte(record))
		testkit.Must(t, err)
		if _, took := takes(t, b.leaser("b", name), 1); took < leaseOfTests || took > testkit.Patience/2 {
			t.Errorf("%s: the lease was taken after %s", name, took)
		}
	}
	handedOver := b.leaser("a", "")
	le, took := takes(t, handedOver, 2)
	if took > leaseOfTests/2 {
		t.Errorf("there was no record, and the lease was taken after %s", took)
	}
	testkit.Must(t, handedOver.release(t.Context(), le))
	if _, took := takes(t, b.leaser("b", ""), 2); took > leaseOfTests/2 {
		t.Errorf("it was handed over and taken after %s", took)
	}
}

func TestLeaseThatIsRenewedIsNotTaken(t *testing.T) {
	b := newBench(t, acceptAll)
	ctx := t.Context()
	a, c := b.leaser("a", "s1"), b.leaser("c", "s2")
	le, _ := takes(t, a, 1)
	for begin := time.Now(); time.Since(begin) < 3*leaseOfTests/2; {
		testkit.Must(t, a.renew(ctx, le))
		testkit.Must(t, c.look(ctx))
		if _, err := c.acquire(ctx, 1); !errors.Is(err, errLeaseHeld) {
			t.Fatalf("after %s: %v", time.Since(begin), err)
		}
		<-time.After(leaseOfTests / 8)
	}
	got, took := takes(t, c, 1)
	if le.alive() {
		t.Errorf("the owner's time was not over when its lease was taken after %s", took)
	}
	if got.epoch <= le.epoch {
		t.Errorf("epoch %d after %d", got.epoch, le.epoch)
	}
	// A process of the same name that was frozen does not get it back.
	again := b.leaser("c", "s1")
	stale := &lease{shard: 1, revision: le.currentRevision(), ctx: le.ctx, end: le.end}
	if err := again.renew(ctx, stale); !errors.Is(err, errLeaseLost) {
		t.Errorf("another process of the same name renews it: %v", err)
	}
	testkit.Must(t, c.renew(ctx, got))
}

// An answer that was lost must not cost the lease.
func TestLeaseWhoseRenewalWasNotAnsweredIsRenewed(t *testing.T) {
	b := newBench(t, acceptAll)
	a := b.leaser("a", "s")
	le, _ := takes(t, a, 1)
	_, err := a.write(t.Context(), 1, "a", le.currentRevision())
	testkit.Must(t, err)
	testkit.Must(t, a.renew(t.Context(), le))
}

// What says who is alive and who owns what has the stream's age for a lifetime, and
// is never deleted: only that survives a broker that is killed.
func TestPresenceHasTheAgeOfItsStream(t *testing.T) {
	b := newBench(t, acceptAll)
	le, _ := takes(t, b.m.leaser, 1)
	b.m.leases[1] = le
	b.m.meet(t.Context())
	b.m.leave(t.Context())
	for _, bucket := range []string{b.m.b.names.WorkersBucket(), b.m.b.names.LeasesBucket()} {
		stream, err := b.JS.Stream(t.Context(), events.KVStream(bucket))
		testkit.Must(t, err)
		info := stream.CachedInfo()
		if info.Config.MaxAge != time.Minute || info.Config.Duplicates > info.Config.MaxAge {
			t.Errorf("%s: age %s, duplicates %s", bucket, info.Config.MaxAge, info.Config.Duplicates)
		}
		if info.State.Msgs != 1 || info.State.LastSeq < 2 {
			t.Errorf("%s: %d records after leaving, last sequence %d", bucket, info.State.Msgs, info.State.LastSeq)
		}
		msg, err := stream.GetMsg(t.Context(), info.State.LastSeq)
		testkit.Must(t, err)
		if ttl := msg.Header.Get(jetstream.MsgTTLHeader); ttl != "" {
			t.Errorf("%s: a record has a lifetime of its own: %s", bucket, ttl)
		}
	}
}
