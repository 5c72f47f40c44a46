package delivery

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/events"
)

// laneOf puts updates into a lane that is being attempted.
func (t *tenure) laneOf(key string, items ...*item) *lane {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.laneFor(key)
	l.queue, l.busy = items, true
	for _, it := range items {
		t.held[it.where()] = it
		t.floor.Add(it.seq, 0)
	}
	return l
}

// A drain that comes just when the dispatcher wakes must not find the partition
// idle and then have a call begin in it: the next owner would make another.
func TestNoCallBeginsOnceThePartitionIsAskedToDrain(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	l := tn.laneOf("k", itemOf("k", 1))
	tn.locked(func() { tn.retryLater(l, 0) }) // ready
	ctx, drain := context.WithCancel(t.Context())
	drain()
	tn.startReady(ctx)
	tn.calls.Wait()
	if !tn.isReady() || l.busy {
		t.Fatalf("ready %v, busy %v: the lane was taken", tn.isReady(), l.busy)
	}
}

// What is read before a call may be slow; that must not leave the call without
// time, and its lane without anybody who comes back to it.
func TestCallThatCouldNotBeginIsMadeLater(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	it := itemOf("k", 1)
	l := tn.laneOf("k", it)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	attempts := []connectors.Attempt{{Update: it.u, Digest: it.tag.Digest, Number: 1}}
	tn.conclude(l, it, tn.call(ended, attempts)[0], false, 0)
	defer tn.stopTimers()
	if l.busy || it.attempts != 0 {
		t.Fatalf("busy %v, attempts %d", l.busy, it.attempts)
	}
}

// The code of a result belongs to the target. None may be mistaken for one of
// ours that ends a lane.
func TestCodeOfATargetMeansNothingToTheEngine(t *testing.T) {
	for _, code := range []string{codeFenced, codePanic, codeMalformed} {
		t.Run(code, func(t *testing.T) {
			b := newBench(t, acceptAll)
			tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
			it := itemOf("k", 1)
			l := tn.laneOf("k", it)
			tn.conclude(l, it, connectors.Failed(connectors.Transient, code, errors.New("theirs")), false, 0)
			defer tn.stopTimers()
			if l.busy || it.attempts != 1 {
				t.Fatalf("busy %v, attempts %d", l.busy, it.attempts)
			}
		})
	}
}

// A target that asks for a year gets the longest wait there is, whatever class
// its answer has.
func TestRetryAfterIsBoundedForTheLaneToo(t *testing.T) {
	for _, class := range []connectors.Class{connectors.Transient, connectors.Throttled, connectors.Misconfigured} {
		t.Run(class.String(), func(t *testing.T) {
			b := newBench(t, acceptAll)
			tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
			it := itemOf("k", 1)
			l := tn.laneOf("k", it)
			res := connectors.Failed(class, "x", errors.New("because"))
			res.RetryAfter = 365 * 24 * time.Hour
			tn.conclude(l, it, res, false, 0)
			defer tn.stopTimers()
			if wait := time.Until(l.due); wait > gate.ThrottleMost {
				t.Fatalf("the lane waits %s", wait)
			}
		})
	}
}

// A replay that fails is overtaken by a newer version like any other update.
func TestNewerVersionTakesOverFromAFailingReplay(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	replay, newer := itemOf("k", 7), itemOf("k", 8)
	replay.replay = true
	l := tn.laneOf("k", replay)
	tn.locked(func() { tn.retryLater(l, time.Hour) })
	defer tn.stopTimers()
	tn.intake(newer, "k")
	if len(l.queue) != 1 || l.queue[0] != newer || !tn.isReady() {
		t.Fatalf("%d in the lane, ready %v", len(l.queue), tn.isReady())
	}
	if c := tn.pending[0]; c.item != replay || c.entry.Outcome != events.Superseded || c.entry.By != testkit.Number(8) {
		t.Fatalf("the replay is not superseded by 8: %+v", c.entry)
	}
}

// What is parked beyond memory is older than what comes while it is read.
func TestUpdatesThatComeWhileParkedOnesAreReadStayBehindThem(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Every)))
	stream, err := b.JS.Stream(t.Context(), tn.stream)
	testkit.Must(t, err)
	publisher, err := events.NewPublisher(t.Context(), b.JS, tn.b.names)
	testkit.Must(t, err)
	const versions = 4
	for v := int64(1); v <= versions; v++ {
		it := itemOf("k", v)
		_, err := publisher.Publish(t.Context(), it.u)
		testkit.Must(t, err)
	}
	c, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Name: "c", AckPolicy: jetstream.AckExplicitPolicy})
	testkit.Must(t, err)
	batch, err := c.Fetch(versions)
	testkit.Must(t, err)
	var items []*item
	for msg := range batch.Messages() {
		it := itemOf("k", int64(len(items)+1))
		it.msg, it.size = msg, 1
		items = append(items, it)
	}
	go tn.parkLoop(t.Context())
	l := tn.laneOf("k", items[0], items[1])
	testkit.Must(t, tn.parkAll(l))
	tn.locked(func() { // as if there were many more, and those in memory were done
		clear(tn.held)
		l.queue, l.parked, l.more, l.lastInMemory, l.busy = nil, true, true, 0, false
		tn.proceed(l) // reads more
		if !l.busy {
			t.Error("the lane does not read what is parked")
		}
	})
	for _, it := range items[2:] {
		testkit.Must(t, tn.share.Take(t.Context(), it.size))
		tn.intake(it, "k")
	}
	testkit.Eventually(t, "the lane to be ready", tn.isReady)
	var got []string
	tn.locked(func() {
		for _, it := range l.queue {
			got = append(got, it.tag.Version.String())
		}
	})
	if want := []string{"1", "2", "3", "4"}; !slices.Equal(got, want[:len(got)]) || len(got) < 2 {
		t.Fatalf("the lane has %v", got)
	}
}

// parkAll parks a lane's updates as parkLoop does, and leaves the lane as it is.
func (t *tenure) parkAll(l *lane) error {
	mover, err := t.parked.Mover()
	if err != nil {
		return err
	}
	defer mover.Close()
	for {
		under, moves, _ := t.nextMoves([]*lane{l})
		if len(moves) == 0 {
			return nil
		}
		mover.Move(t.ctx, moves)
		if err := moves[0].Err; err != nil {
			return err
		}
		t.noteParked(under[0].item, moves[0].At)
	}
}

// Only the newest copy of an update can be acked, so a redelivery replaces it,
// at any moment.
func TestRedeliveryMayComeWhileAnUpdateIsParkedOrDeadLettered(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	publisher, err := events.NewPublisher(t.Context(), b.JS, tn.b.names)
	testkit.Must(t, err)
	it := itemOf("k", 1)
	_, err = publisher.Publish(t.Context(), it.u)
	testkit.Must(t, err)
	stream, err := b.JS.Stream(t.Context(), tn.stream)
	testkit.Must(t, err)
	c, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Name: "c", AckPolicy: jetstream.AckExplicitPolicy})
	testkit.Must(t, err)
	msg, err := c.Next()
	testkit.Must(t, err)
	it.msg, it.size = msg, 1
	l := tn.laneOf("k", it)
	testkit.Must(t, tn.share.Take(t.Context(), 1))
	again := make(chan struct{})
	go func() {
		defer close(again)
		for range 100 {
			tn.intake(&item{u: it.u, tag: it.tag, seq: it.seq, msg: msg}, "k")
		}
	}()
	e := tn.entry(it, events.Settlement{Version: it.tag.Version, Outcome: events.DeadLettered}, connectors.Result{})
	testkit.Must(t, tn.storeDead("k", it, e, ""))
	testkit.Must(t, tn.parkAll(l))
	<-again
}

// Whether a failing key is parked depends on how other keys' calls, which end
// meanwhile, fare. The race detector has seen their attempts read without a lock.
func TestFailingKeysAreCountedWhileOtherKeysFail(t *testing.T) {
	b := newBench(t, acceptAll)
	cfg := memoryChannel("cal", channels.Every)
	cfg.Window, cfg.Retry.MaxAttempts = 2, 1000
	tn := b.tenure(t, b.run(t, cfg))
	one, other := itemOf("a", 1), itemOf("b", 1)
	one.seq, other.seq = 1, 2
	la, lb := tn.laneOf("a", one), tn.laneOf("b", other)
	defer tn.stopTimers()
	tn.locked(func() { tn.held[one.where()], tn.held[other.where()] = one, other })
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		for range 50 {
			tn.failed(la, one, events.Settlement{Version: testkit.Number(1)}, connectors.Failed(connectors.Transient, "503", errors.New("busy")), true)
		}
	}()
	for ended := false; !ended; {
		select {
		case <-failed:
			ended = true
		default:
		}
		tn.locked(func() {
			tn.counted = time.Time{}
			tn.shouldPark(lb, other)
		})
	}
	tn.locked(func() {
		if !tn.shouldPark(lb, other) {
			t.Error("a failing key fills half the window, and the next one is not parked")
		}
	})
}
