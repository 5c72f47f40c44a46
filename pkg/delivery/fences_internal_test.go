package delivery

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A drain that comes just when the dispatcher wakes must not find the partition
// idle and then have a call begin in it: the next owner would make another.
func TestNoCallBeginsOnceThePartitionIsAskedToDrain(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	tn.intake(itemOf("k", 1), "k")
	ctx, drain := context.WithCancel(t.Context())
	drain()
	tn.calls.startReady(ctx)
	tn.calls.under.Wait()
	if !tn.isReady() {
		t.Fatal("the lane was taken")
	}
}

// What is read before a call may be slow; that must not leave the call without
// time, and its lane without anybody who comes back to it.
func TestCallThatCouldNotBeginIsMadeLater(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	it := itemOf("k", 1)
	l := tn.attempt(it)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	attempts := []connectors.Attempt{{Update: it.Update, Digest: it.Tag.Digest, Number: 1}}
	tn.calls.conclude(l, it, tn.calls.call(ended, attempts)[0], false, 0, new(workspace))
	defer tn.stopAlarm()
	if _, waits := tn.waits(); !waits || it.Tries.Spent != 0 {
		t.Fatalf("waits %v, attempts %d", waits, it.Tries.Spent)
	}
}

// The code of a result belongs to the target. None may be mistaken for one of
// ours that ends a lane.
func TestCodeOfATargetMeansNothingToTheEngine(t *testing.T) {
	for _, code := range []string{codeFenced, lanes.CodeFault, lanes.CodeMalformed} {
		t.Run(code, func(t *testing.T) {
			b := newBench(t, acceptAll)
			tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
			it := itemOf("k", 1)
			l := tn.attempt(it)
			tn.calls.conclude(l, it, connectors.Failed(connectors.Transient, code, errors.New("theirs")), false, 0, new(workspace))
			defer tn.stopAlarm()
			if _, waits := tn.waits(); !waits || !l.Standing().Failing() {
				t.Fatalf("waits %v, fails %v", waits, l.Standing().Failing())
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
			r := b.run(t, memoryChannel("cal", channels.Latest))
			r.parkAfter = 2 * connectors.MaxRetryAfter // else it is moved out of the way
			tn := b.tenure(t, r)
			it := itemOf("k", 1)
			l := tn.attempt(it)
			res := connectors.Failed(class, "x", errors.New("because"))
			res.RetryAfter = 365 * 24 * time.Hour
			tn.calls.conclude(l, it, res, false, 0, new(workspace))
			defer tn.stopAlarm()
			if due, waits := tn.waits(); !waits || time.Until(due) > connectors.MaxRetryAfter {
				t.Fatalf("the lane waits %v, for %s", waits, time.Until(due))
			}
		})
	}
}

// parkAll parks what is to be parked, as the parker's loop does.
func (t *tenure) parkAll() error {
	mover, err := t.parked.Mover()
	if err != nil {
		return err
	}
	defer mover.Close()
	for under := t.parker.take(); len(under) > 0; {
		under = t.parker.round(t.ctx, mover, under)
	}
	return nil
}

// Only the newest copy of an update can be acked, so a redelivery replaces it,
// at any moment.
func TestRedeliveryMayComeWhileAnUpdateIsParkedOrDeadLettered(t *testing.T) {
	b := newBench(t, acceptAll)
	r := b.run(t, memoryChannel("cal", channels.Latest))
	r.parkAfter = 0 // with the first failure
	tn := b.tenure(t, r)
	publisher, err := publish.New(t.Context(), b.JS, tn.b.names)
	testkit.Must(t, err)
	it := itemOf("k", 1)
	_, err = publisher.Publish(t.Context(), it.Update)
	testkit.Must(t, err)
	stream, err := b.JS.Stream(t.Context(), tn.stream)
	testkit.Must(t, err)
	c, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Name: "c", AckPolicy: jetstream.AckExplicitPolicy})
	testkit.Must(t, err)
	msg, err := c.Next()
	testkit.Must(t, err)
	it.Msg, it.Size = msg, 1
	testkit.Must(t, tn.share.Take(t.Context(), 1))
	l := tn.attempt(it)
	again := make(chan struct{})
	go func() {
		defer close(again)
		for range 100 {
			tn.intake(&lanes.Item{Update: it.Update, Tag: it.Tag, Seq: it.Seq, Msg: msg}, "k")
		}
	}()
	e := &wire.Entry{Key: "k", Settlement: events.Settlement{Version: it.Tag.Version, Outcome: events.DeadLettered}}
	testkit.Must(t, letterbox{tn}.store("k", it, e, ""))
	tn.calls.conclude(l, it, connectors.Failed(connectors.Transient, "503", errors.New("busy")), false, 0, new(workspace))
	defer tn.stopAlarm()
	testkit.Must(t, tn.parkAll())
	<-again
	if it.Parked == 0 {
		t.Error("it is not parked")
	}
}
