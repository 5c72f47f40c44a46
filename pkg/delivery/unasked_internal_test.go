package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/feed"
	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
)

// neverStored is a message whose answer was lost.
type neverStored struct{ jetstream.PubAckFuture }

func (neverStored) Ok() <-chan *jetstream.PubAck { return nil }
func (neverStored) Err() <-chan error            { return nil }

// One answer that was lost with the server that gave it stopped the partition for ever.
func TestLostAnswerToAnAckEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		err := awaitStored(t.Context(), []jetstream.PubAckFuture{neverStored{}, neverStored{}})
		if !errors.Is(err, events.ErrUnavailable) || time.Since(started) != ackAnswer {
			t.Errorf("%v after %s; want %v after %s", err, time.Since(started), events.ErrUnavailable, ackAnswer)
		}
	})
}

// What a worker notices itself when it makes another consumer is an alarm. It began at
// 0 again and said so to nobody.
func TestRestoredBrokerSeenByTheConsumerIsAnAlarm(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Latest)))
	b.publishRaw(t, "cal", 3)
	testkit.Must(t, tn.takeOver(t.Context()))
	tn.at(func(m *lanes.Lanes) { m.Floor().Add(9, time.Now().UnixNano()) }) // it was given up to 9
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	if err := tn.feed.Renew(ctx); !errors.Is(err, feed.ErrOlder) {
		t.Fatalf("%v, want %v", err, feed.ErrOlder)
	}
	if b.m.b.restoredAt().IsZero() {
		t.Error("the worker has found that the broker was restored, and there is no alarm")
	}
}

// The target was down for an hour, is back since a moment, and fails again. The update
// whose failure opens the circuit was an hour older for it, and given up.
func TestOutageDoesNotCountForTheUpdateThatOpensTheCircuit(t *testing.T) {
	for _, others := range []int{gate.OpenAfter - 2, gate.OpenAfter - 1} {
		b := newBench(t, acceptAll)
		cfg := memoryChannel("cal", channels.Every)
		cfg.Retry.MaxAge = connectors.Duration(30 * time.Minute)
		r := b.run(t, cfg)
		tn := b.tenure(t, r)
		testkit.Must(t, tn.takeOver(t.Context()))
		defer tn.stopAlarm()
		now := time.Now().Add(-time.Hour)
		renewed := lanes.New(lanes.Options{
			Window: 10, Calls: 1, Retry: r.entry.Config.Retry, ParkAfter: 2 * time.Hour, NewBackoff: newBackoff(&r.entry.Config.Retry),
			Now: func() time.Time { return now },
		})
		tn.at(func(*lanes.Lanes) { tn.lanes = renewed })
		it := itemOf("k", 1)
		down := connectors.Failed(connectors.Transient, "503", errors.New("down"))
		answer := lanes.Answered(down, gate.Verdict{Counts: true})
		l := tn.attempt(it)
		tn.at(func(m *lanes.Lanes) { m.Concluded(l, &answer) })
		tn.at(func(m *lanes.Lanes) {
			now = time.Now() // under the lock: the alarm may ring, and asks for it
			m.Tick()
		})
		l = tn.attempt()
		tn.commits.take()
		for i := range others {
			r.gate.Report(fmt.Sprint(i), gate.Standing{}, connectors.Failed(connectors.Transient, "x", errors.New("because")), false)
		}
		tn.calls.conclude(l, it, down, false, 0, new(workspace))
		logged := tn.commits.take()
		if len(logged) != 1 || logged[0].Entry.Outcome != wire.Retrying {
			t.Fatalf("after %d other failures the log gets %+v, want that it is tried again", others, logged)
		}
		if trying := time.Duration(logged[0].Entry.TryingMS) * time.Millisecond; trying > time.Minute {
			t.Errorf("after %d other failures it has been tried for %s, want the moment since the target was back", others, trying)
		}
	}
}

// Secrets have changed and the connector cannot be opened with them: calls go on as
// before, and the worker's log alone said so.
func TestReloadThatFailsIsSeen(t *testing.T) {
	b := newBench(t, acceptAll)
	r := b.run(t, memoryChannel("cal", channels.Latest))
	tn := b.tenure(t, r)
	testkit.Must(t, tn.takeOver(t.Context()))
	tn.takenOver.Store(true)
	defer tn.p.sight.enter(tn)()
	open := r.target.open
	r.target.open = func(context.Context) (connectors.Sender, error) {
		return nil, fmt.Errorf("%w: ${env:X}", connectors.ErrSecret)
	}
	r.reload(t.Context())
	if w, ok := tn.p.wait(time.Now(), time.Minute); !ok || w.Code != why.ReloadFailed || !strings.Contains(w.Message, "env:X") {
		t.Errorf("%v %+v; want %s and the secret's name", ok, w, why.ReloadFailed)
	}
	r.target.open = open
	r.reload(t.Context())
	if w, ok := tn.p.wait(time.Now(), time.Minute); ok {
		t.Errorf("told although it is over: %+v", w)
	}
}
