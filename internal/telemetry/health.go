package telemetry

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/delivery"
)

// namedChannels bounds how many channels a reason names.
const namedChannels = 10

// watched is what is looked at of a worker.
type watched interface {
	Status() delivery.Status
	Stats() map[string]delivery.ChannelStats
}

// WorkerHealth finds out whether a worker does what it is there for.
type WorkerHealth struct {
	worker     watched
	connection func() nats.Status
	stallAfter time.Duration
	now        func() time.Time

	mu      sync.Mutex
	settled uint64
	good    time.Time // when there was progress last, or nothing to do
	stuck   string    // what there was to do at the last look
}

// NewWorkerHealth returns the health of a worker that is not ready when there was
// something to do for stallAfter, and nothing was settled. Watch keeps it up to
// date.
func NewWorkerHealth(w *delivery.Worker, connection func() nats.Status, stallAfter time.Duration) *WorkerHealth {
	return newWorkerHealth(w, connection, stallAfter, time.Now)
}

func newWorkerHealth(w watched, connection func() nats.Status, stallAfter time.Duration, now func() time.Time) *WorkerHealth {
	return &WorkerHealth{worker: w, connection: connection, stallAfter: stallAfter, now: now, good: now()}
}

// Watch looks at the worker until ctx ends.
func (h *WorkerHealth) Watch(ctx context.Context) {
	tick := time.NewTicker(min(max(h.stallAfter/10, 50*time.Millisecond), 5*time.Second))
	defer tick.Stop()
	for {
		h.look()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look compares what was settled with the last look. An update that waits for
// its next attempt is nothing to do: one key that keeps failing must not make the
// worker look dead.
func (h *WorkerHealth) look() {
	settled := uint64(0)
	for _, c := range h.worker.Stats() {
		settled += c.Resynced
		for _, n := range c.Outcomes {
			settled += n
		}
	}
	stuck := todo(h.worker.Status().Partitions)
	h.mu.Lock()
	defer h.mu.Unlock()
	if settled != h.settled || stuck == "" {
		h.good = h.now()
	}
	h.settled, h.stuck = settled, stuck
}

// todo says what could be worked on, "" if there is nothing.
func todo(partitions []delivery.PartitionStatus) string {
	var out []string
	more := 0
	for _, c := range byChannel(partitions) {
		if c.ready == 0 && c.takingOver == 0 {
			continue
		}
		if len(out) == namedChannels {
			more++
			continue
		}
		text := fmt.Sprintf("channel %s: %d updates held, %d calls in flight, circuit %s", c.name, c.updates, c.inFlight, c.circuit)
		if c.reason != "" {
			text += " (" + c.reason + ")"
		}
		if c.takingOver > 0 {
			text += fmt.Sprintf(", %d partitions being taken over", c.takingOver)
		}
		out = append(out, text)
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("and %d more channels", more))
	}
	return strings.Join(out, "; ")
}

// Problems says why the worker is not ready; nothing if it is.
func (h *WorkerHealth) Problems() []string {
	var out []string
	status := h.worker.Status()
	switch status.Phase {
	case delivery.Starting:
		out = append(out, "starting: waiting for the broker, which is provisioned when the first channel is applied")
	case delivery.Draining:
		out = append(out, "draining: the worker was asked to stop")
	case delivery.Stopped:
		out = append(out, "stopped")
	case delivery.Working:
	}
	if s := h.connection(); s != nats.CONNECTED {
		out = append(out, "no connection to the broker: "+strings.ToLower(s.String()))
	} else if status.MembersUnknown != "" {
		out = append(out, "which share is this worker's is not known: "+status.MembersUnknown)
	}
	if at := h.worker.Status().Restored; !at.IsZero() {
		out = append(out, "the broker's files were restored and nobody ran 'extsync recover'; found at "+at.Format(time.RFC3339))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.now().Sub(h.good); d > h.stallAfter {
		out = append(out, fmt.Sprintf("nothing was settled for %s although there is something to do: %s", d.Round(time.Second), h.stuck))
	}
	return out
}

// Ready reports whether there are no problems.
func (h *WorkerHealth) Ready() bool { return len(h.Problems()) == 0 }
