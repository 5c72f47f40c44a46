package delivery

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
)

// The ledger cannot be read, so nothing is delivered. It was told as the target's
// failure, which wakes nobody.
func TestLedgerThatCannotBeReadIsNotTheTargetsFault(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	testkit.Must(t, tn.takeOver(t.Context()))
	tn.takenOver.Store(true)
	defer tn.p.sight.enter(tn)()
	testkit.Must(t, b.JS.DeleteStream(t.Context(), wire.KVStream(wire.LedgerBucket(b.m.b.names))))
	tn.intake(itemOf("k", 1), "k")
	one, _ := tn.calls.next(t.Context())
	if len(one.batch) != 1 {
		t.Fatalf("%d lanes are due, want 1", len(one.batch))
	}
	tn.calls.deliver(one.batch, one.probe, new(workspace))
	tn.at(func(m *lanes.Lanes) { m.CallEnded(false) })
	if w, ok := tn.p.wait(time.Now(), time.Minute); ok {
		t.Errorf("told at once: %+v; want nothing before it has lasted", w)
	}
	w, ok := tn.p.wait(time.Now().Add(settledLately), time.Minute)
	if !ok || w.Code != why.BrokerRefuses || !strings.Contains(w.Message, "ledger cannot be read") {
		t.Errorf("%v %+v; want %s, and what it is", ok, w, why.BrokerRefuses)
	}
	tn.p.sight.hinder(readLedger, nil)
	if w, ok := tn.p.wait(time.Now().Add(settledLately), time.Minute); ok && w.Code == why.BrokerRefuses {
		t.Errorf("told although it is over: %+v", w)
	}
}

// The registry's stream has no leader for a while; that of the leases has one. A worker
// waited for the registry and lost all of its leases meanwhile.
func TestRegistryThatDoesNotAnswerCostsNoLease(t *testing.T) {
	b := newBench(t, acceptAll)
	var deaf atomic.Bool
	relay := b.Connect(t)
	_, err := relay.Subscribe("RELAY.>", func(m *nats.Msg) {
		if !deaf.Load() {
			_ = relay.PublishRequest("$JS.API."+strings.TrimPrefix(m.Subject, "RELAY."), m.Reply, m.Data)
		}
	})
	testkit.Must(t, err)
	testkit.Must(t, relay.Flush())
	js, err := jetstream.NewWithAPIPrefix(b.Conn, "RELAY")
	testkit.Must(t, err)
	heard := b.m.b.registry
	_, err = heard.Put(t.Context(), memoryChannel("cal", channels.Latest), 0)
	testkit.Must(t, err)
	b.m.b.registry, err = channels.OpenRegistry(t.Context(), js, events.DefaultNames(), b.m.o.Catalog)
	testkit.Must(t, err)
	o := b.m.o
	o.LeaseTTL = 2 * time.Second
	b.m.b.leaseTTL = o.LeaseTTL
	m := newManager(o, b.m.b, b.m.stats)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
	}()
	takeovers := func() uint64 { return b.m.stats.snapshot()["cal"].Takeovers }
	testkit.Eventually(t, "the partition to be taken over", func() bool { return takeovers() == 1 })
	deaf.Store(true)
	began := time.Now()
	_, err = heard.Put(t.Context(), memoryChannel("other", channels.Latest), 0) // tells of a change
	testkit.Must(t, err)
	leases, err := b.JS.Stream(t.Context(), wire.KVStream(wire.LeasesBucket(b.m.b.names)))
	testkit.Must(t, err)
	testkit.Eventually(t, "leases to be renewed beyond the read of the registry", func() bool {
		info, err := leases.Info(t.Context())
		testkit.Must(t, err)
		return info.State.LastTime.Sub(began) > registryPatience
	})
	if n := takeovers(); n != 1 {
		t.Errorf("the partition was taken over %d times, want once: its lease was lost", n)
	}
}

// An update that clients do not hand out, whose dead letter finds no room, holds its
// partition. Nobody said so.
func TestHiddenUpdateWithoutRoomIsSaid(t *testing.T) {
	b := newBench(t, acceptAll)
	names := b.m.b.names
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	testkit.Must(t, tn.takeOver(t.Context()))
	tn.takenOver.Store(true)
	defer tn.p.sight.enter(tn)()
	dead, err := b.JS.Stream(t.Context(), wire.DeadStream(names))
	testkit.Must(t, err)
	full := dead.CachedInfo().Config
	full.MaxMsgs = 1
	_, err = b.JS.UpdateStream(t.Context(), full)
	testkit.Must(t, err)
	_, err = b.JS.Publish(t.Context(), wire.DeadLetter(names, "other", "k"), nil)
	testkit.Must(t, err)
	msg := nats.NewMsg(names.Update(events.ToChannel("cal"), "forged"))
	msg.Header.Set(plain.HeaderStatus, "404")
	_, err = b.JS.PublishMsg(t.Context(), msg)
	testkit.Must(t, err)
	if _, err := tn.feed.LookHidden(t.Context()); err == nil {
		t.Fatal("the letter has found room: this shows nothing")
	}
	w, ok := tn.p.wait(time.Now().Add(settledLately), time.Minute)
	if !ok || w.Code != why.BrokerRefuses || !strings.Contains(w.Message, "cannot become a dead letter") {
		t.Errorf("%v %+v; want %s, and what it is", ok, w, why.BrokerRefuses)
	}
	_, err = b.JS.UpdateStream(t.Context(), dead.CachedInfo().Config)
	testkit.Must(t, err)
	go tn.commits.run(t.Context())
	if found, err := tn.feed.LookHidden(t.Context()); err != nil || !found {
		t.Fatalf("found %v, %v; want it settled", found, err)
	}
	if w, ok := tn.p.wait(time.Now().Add(settledLately), time.Minute); ok {
		t.Errorf("told although it is over: %+v", w)
	}
}

// What does not go is told as long as it is met, and no longer: the look for updates that
// clients do not hand out failed with the broker, once, and was an alarm for good; so was
// an ack whose update was overtaken before the next try.
func TestHindranceThatIsNotMetAgainIsOver(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	testkit.Must(t, tn.takeOver(t.Context()))
	tn.takenOver.Store(true)
	defer tn.p.sight.enter(tn)()
	gone, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if _, err := tn.feed.LookHidden(gone); err == nil {
		t.Fatal("the look has not failed: this shows nothing")
	}
	if w, ok := tn.p.wait(time.Now().Add(settledLately), time.Minute); ok {
		t.Errorf("a look that failed is told: %+v", w)
	}
	tn.p.sight.hinder(repeatAck, events.ErrUnavailable)
	if w, ok := tn.p.wait(time.Now().Add(settledLately), time.Minute); !ok || w.Code != why.BrokerRefuses {
		t.Errorf("%v %+v; want %s", ok, w, why.BrokerRefuses)
	}
	if w, ok := tn.p.wait(time.Now().Add(repeatAck.fresh()), time.Minute); ok {
		t.Errorf("told although it was not met again: %+v", w)
	}
}

// A takeover that the broker's permissions do not allow is not answered, and was told as
// one that is under way, for a minute.
func TestTakeoverThatTheBrokerRefusesIsSaid(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	defer tn.p.sight.enter(tn)()
	if w, _ := tn.p.wait(time.Now(), time.Minute); w.Code != why.TakingOver {
		t.Errorf("at first %+v, want %s", w, why.TakingOver)
	}
	b.m.b.refused = func() error { return errors.New("the permission to publish to sync.x is missing") }
	if w, _ := tn.p.wait(time.Now(), time.Minute); w.Code != why.TakeoverFailed || !strings.Contains(w.Message, "sync.x") {
		t.Errorf("%+v, want %s and the permission", w, why.TakeoverFailed)
	}
}
