package telemetry

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
)

// A posed worker says what a test wants.
type posed struct {
	status delivery.Status
	stats  map[string]delivery.ChannelStats
}

func (p *posed) Status() delivery.Status                 { return p.status }
func (p *posed) Stats() map[string]delivery.ChannelStats { return p.stats }

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
	busy := delivery.PartitionStatus{Channel: "cal", TakenOver: true, Updates: 3, Keys: 3, Ready: 2, InFlight: 1, Circuit: "open", Reason: "503: down"}

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
	expect("no progress", "nothing was settled for 1m10s although there is something to do: channel cal: 3 updates held, 1 calls in flight, circuit open (503: down)")
	w.settled(1)
	h.look()
	expect("one was settled", "")
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
