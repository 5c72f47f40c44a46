package telemetry

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// A posed worker says what a test wants.
type posed struct {
	status delivery.Status
	stats  map[string]delivery.ChannelStats
	// unowned is what no worker has.
	unowned map[string]int
}

func (p *posed) Status() delivery.Status                 { return p.status }
func (p *posed) Stats() map[string]delivery.ChannelStats { return p.stats }

func (p *posed) Unowned(context.Context) (map[string]int, error) { return p.unowned, nil }

func (p *posed) settled(n uint64) {
	p.stats = map[string]delivery.ChannelStats{"cal": {Outcomes: map[events.Outcome]uint64{events.Delivered: n}}}
}

func (p *posed) has(parts ...delivery.PartitionStatus) {
	p.status = delivery.Status{Phase: delivery.Working, Partitions: parts}
}

func TestProgress(t *testing.T) {
	now := time.Now()
	w := &posed{}
	h := newWorkerHealth(w, func() nats.Status { return nats.CONNECTED }, time.Minute, func() time.Time { return now })
	pass := func() {
		for range 7 { // looks, more than a minute
			h.look()
			now = now.Add(10 * time.Second)
		}
		h.look()
	}
	expect := func(what, why string) {
		t.Helper()
		got := strings.Join(h.Problems(), "\n")
		if (got == "") != (why == "") || !strings.Contains(got, why) {
			t.Errorf("%s: %q, want %q", what, got, why)
		}
	}
	busy := delivery.PartitionStatus{Channel: "cal", TakenOver: true, Updates: 3, Keys: 3, Ready: 2, InFlight: 1, Circuit: "closed"}

	w.has()
	pass()
	expect("nothing to do", "")
	w.status.MembersUnknown = "no permission"
	expect("the live workers cannot be listed", "which share is this worker's is not known: no permission")
	waits := busy
	waits.Ready = 0
	w.has(waits)
	pass()
	expect("updates wait for their next attempt", "")
	w.has(busy)
	h.look()
	expect("at first", "")
	pass()
	expect("no progress", "nothing was settled for 1m10s although there is something to do: channel cal: 3 updates held, 1 calls in flight")
	w.settled(1)
	h.look()
	expect("one was settled", "")
	down := busy
	down.Circuit = "open"
	w.has(down)
	pass()
	expect("the target is down, which is no fault of the worker", "")
	w.has(busy)
	pass()
	expect("and no other", "nothing was settled")
	w.has(delivery.PartitionStatus{Channel: "new", Circuit: "closed"})
	h.look()
	expect("another reason", "1 partitions being taken over")
	w.has()
	h.look()
	expect("it has gone elsewhere", "")
}

func TestProblemsByPhase(t *testing.T) {
	w := &posed{}
	connection := nats.CONNECTED
	h := newWorkerHealth(w, func() nats.Status { return connection }, time.Minute, time.Now)
	for phase, want := range map[delivery.Phase]string{
		delivery.Starting: "waiting for the broker", delivery.Draining: "draining", delivery.Stopped: "stopped", delivery.Working: "",
	} {
		w.status.Phase = phase
		if got := strings.Join(h.Problems(), "\n"); (got == "") != (want == "") || !strings.Contains(got, want) || h.Ready() != (want == "") {
			t.Errorf("%s: %q", phase, got)
		}
	}
	w.status.Phase, connection = delivery.Working, nats.RECONNECTING
	if got := h.Problems(); len(got) != 1 || got[0] != "no connection to the broker: reconnecting" {
		t.Errorf("without a connection: %q", got)
	}
}

// TestReasonsByWhoCanMendThem: what is to be put right at this worker makes it not
// ready; what is wrong at the target, or only lasts, is told and no more.
func TestReasonsByWhoCanMendThem(t *testing.T) {
	for _, c := range []struct {
		code           why.Code
		stalled        bool
		problem, noted bool
	}{
		{why.SecretMissing, true, true, false},
		{why.ConnectorFailed, true, true, false},
		{why.TakeoverFailed, false, false, true},
		{why.TakeoverFailed, true, true, false},
		{why.NoProgress, true, true, false},
		{why.BrokerRefuses, true, true, false},
		{why.CircuitOpen, true, false, true},
		{why.CredentialsRefused, true, false, true},
		{why.Misconfigured, true, false, true},
		{why.TargetRefuses, true, false, true},
		{why.RateLimited, true, false, false},
		{why.Parked, true, false, false},
		{why.TargetError, true, false, false},
		{why.TakingOver, false, false, false},
		{why.Opening, false, false, false},
		{why.Opening, true, true, false},
	} {
		w := &posed{status: delivery.Status{Phase: delivery.Working, Waits: []workers.Wait{
			{Channel: "erp", Partitions: []int{3}, Code: c.code, Message: "so it is", Stalled: c.stalled},
		}}}
		h := newWorkerHealth(w, func() nats.Status { return nats.CONNECTED }, time.Minute, time.Now)
		want := "channel erp, partitions [3]: " + string(c.code) + ": "
		for what, got := range map[bool][]string{true: h.Problems(), false: h.Notes()} {
			wanted := what && c.problem || !what && c.noted
			if (len(got) == 1) != wanted || wanted && (!strings.HasPrefix(got[0], want) || !strings.HasSuffix(got[0], "so it is")) {
				t.Errorf("%s, stalled %v, as a problem %v: %q", c.code, c.stalled, what, got)
			}
		}
	}
}

// TestPartitionsWithoutAWorker: that nobody has a partition is a problem when it lasts,
// whoever is to blame.
func TestPartitionsWithoutAWorker(t *testing.T) {
	now := time.Now()
	w := &posed{status: delivery.Status{Phase: delivery.Working}, unowned: map[string]int{"cal": 3}}
	h := newWorkerHealth(w, func() nats.Status { return nats.CONNECTED }, time.Minute, func() time.Time { return now })
	expect := func(what string, unowned int, why string) {
		t.Helper()
		h.look()
		h.lookAround(t.Context())
		got := strings.Join(h.Problems(), "\n")
		if (got == "") != (why == "") || !strings.Contains(got, why) || h.Unowned()["cal"] != unowned {
			t.Errorf("%s: %q, want %q; %v", what, got, why, h.Unowned())
		}
	}
	expect("at first", 3, "")
	now = now.Add(61 * time.Second)
	expect("after a minute", 3, "channel cal: no_worker: no live worker says that it has 3 of its partitions, for 1m1s")
	now = now.Add(10 * time.Second)
	w.unowned = nil
	expect("somebody has them", 0, "")
}
