package telemetry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// namedChannels bounds how many channels a reason names.
const namedChannels = 10

// watched is what is looked at of a worker.
type watched interface {
	Status() delivery.Status
	Stats() map[string]delivery.ChannelStats
	Unowned(ctx context.Context) (map[string]int, error)
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
	// unowned counts, by channel, partitions that no live worker says it has; since
	// says since when there are some.
	unowned map[string]int
	since   map[string]time.Time
	asked   time.Time // when the broker was asked last
}

// NewWorkerHealth returns the health of a worker that is not ready when there was
// something to do for stallAfter and nothing was settled, by the whole worker or in a
// partition of a channel whose target answers; when a channel cannot be opened here; and
// when no worker has had a partition for stallAfter. Watch keeps it up to date.
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
		h.lookAround(ctx)
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

// askEvery is how often the other workers are looked at.
const askEvery = 5 * time.Second

// lookAround asks what no worker has. While the broker does not answer, what was known
// last stays: that it does not answer is a problem of its own.
func (h *WorkerHealth) lookAround(ctx context.Context) {
	h.mu.Lock()
	due := h.now().Sub(h.asked) >= min(askEvery, h.stallAfter/2)
	h.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	unowned, err := h.worker.Unowned(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = h.now()
	if err != nil {
		return
	}
	since := map[string]time.Time{}
	for name := range unowned {
		since[name] = h.asked
		if at, ok := h.since[name]; ok {
			since[name] = at
		}
	}
	h.unowned, h.since = unowned, since
}

// Unowned returns, for each channel, how many of its partitions no live worker says it
// has, as of the last look.
func (h *WorkerHealth) Unowned() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.unowned)
}

// abandoned says which channels have had partitions without a worker for long.
func (h *WorkerHealth) abandoned() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(h.unowned)) {
		if d := h.now().Sub(h.since[name]); d > h.stallAfter {
			out = append(out, fmt.Sprintf("channel %s: %s: no live worker says that it has %d of its partitions, for %s",
				name, why.NoWorker, h.unowned[name], d.Round(time.Second)))
		}
	}
	return few(out)
}

// few bounds how many lines are told.
func few(lines []string) []string {
	if more := len(lines) - namedChannels; more > 0 {
		return append(lines[:namedChannels:namedChannels], fmt.Sprintf("and %d more", more))
	}
	return lines
}

// ours reports whether what a wait is about is to be put right at this worker. What is
// wrong at the target is not: it is the same at every worker, and a rollout must not
// wait for it.
func ours(w *workers.Wait) bool {
	switch w.Code {
	case why.SecretMissing, why.ConnectorFailed:
		return true
	case why.TakeoverFailed, why.NoProgress, why.BrokerRefuses, why.Opening:
		return w.Stalled
	default:
		return false
	}
}

func waitText(w *workers.Wait) string {
	text := "channel " + w.Channel
	if len(w.Partitions) > 0 {
		text += fmt.Sprintf(", partitions %v", w.Partitions)
	}
	return text + ": " + string(w.Code) + ": " + w.Reason("").String()
}

// waitsOf returns what does not move at this worker: what is to be put right here, or
// what is not.
func waitsOf(status *delivery.Status, here bool) []string {
	var out []string
	for i := range status.Waits {
		if w := &status.Waits[i]; ours(w) == here && (here || w.Code.Alarming()) {
			out = append(out, waitText(w))
		}
	}
	return few(out)
}

// Notes says what does not move although the worker is ready: nothing that could be put
// right at this worker.
func (h *WorkerHealth) Notes() []string {
	status := h.worker.Status()
	return waitsOf(&status, false)
}

// todo says what could be worked on where the target answers, "" if there is nothing.
func todo(partitions []delivery.PartitionStatus) string {
	var out []string
	more := 0
	for _, c := range byChannel(partitions) {
		if c.circuit != "closed" || c.ready == 0 && c.takingOver == 0 {
			continue // a target that fails is no fault of the worker, and its waits tell of it
		}
		if len(out) == namedChannels {
			more++
			continue
		}
		text := fmt.Sprintf("channel %s: %d updates held, %d calls in flight", c.name, c.updates, c.inFlight)
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
	if at := status.Restored; !at.IsZero() {
		out = append(out, "the broker's files were restored and nobody ran 'extsync recover'; found at "+at.Format(time.RFC3339))
	}
	out = append(out, waitsOf(&status, true)...)
	h.mu.Lock()
	defer h.mu.Unlock()
	out = append(out, h.abandoned()...)
	if d := h.now().Sub(h.good); d > h.stallAfter {
		out = append(out, fmt.Sprintf("nothing was settled for %s although there is something to do: %s", d.Round(time.Second), h.stuck))
	}
	return out
}

// Ready reports whether there are no problems.
func (h *WorkerHealth) Ready() bool { return len(h.Problems()) == 0 }
