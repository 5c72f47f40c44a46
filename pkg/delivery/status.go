package delivery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// Phase is how far a worker's life has got.
type Phase string

// The phases.
const (
	Starting Phase = "starting" // Run has not found the broker provisioned yet
	Working  Phase = "working"
	Draining Phase = "draining" // its context has ended
	Stopped  Phase = "stopped"
)

// A Status is what a worker has in hand. It is made from memory.
type Status struct {
	Phase  Phase
	Shards int // leases that it holds
	// Active, Paused and Deleted count the channels of the registry, of all
	// workers.
	Active, Paused, Deleted int
	// MembersUnknown says why the live workers could not be listed for the time of a
	// lease, and so the worker's share is not known; "" if they can.
	MembersUnknown string
	// Blocked names the channels whose connector could not be opened here.
	Blocked []string
	// Restored is when the broker was found to hold older files than before, without a
	// new incarnation; zero if it was not. It stays until the worker is started again
	// after 'extsync recover'.
	Restored time.Time
	// Waits are the channels and partitions that do not move at this worker, as it
	// has last announced them, the most urgent first.
	Waits      []workers.Wait
	Partitions []PartitionStatus // ordered by channel and partition
}

// A PartitionStatus is what a worker has in hand of a partition.
type PartitionStatus struct {
	Channel   string
	Kind      string
	Partition int
	Since     time.Time // when this worker began with it
	TakenOver bool      // false: it still takes it over
	Updates   int       // held and not settled
	Keys      int       // of these updates
	Ready     int       // of these keys: they wait for nothing but the worker and the target
	Parked    int       // of these keys: they keep failing
	InFlight  int       // calls
	Oldest    time.Time // when the broker stored the oldest of the updates; zero if there is none
	Circuit   string    // closed, open or blocked
	// CircuitSince says since when, Reason why it is not closed.
	CircuitSince time.Time
	Reason       string
	// Standings say how the partition's keys stand, as far as this worker has taken their
	// updates from the broker; nil while that is not known.
	Standings why.Counts
	// Estimated: a former owner was killed, and Standings are what it had counted, until they
	// are counted again.
	Estimated bool
}

// Status returns what the worker has in hand now.
func (w *Worker) Status() Status {
	s, tenures := w.stats.status()
	for _, t := range tenures {
		s.Partitions = append(s.Partitions, t.status(heldBy(s.Waits, t)))
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStatus) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Partition, b.Partition))
	})
	return s
}

// Waiting asks the broker how many updates wait there, or are on their way, for
// each partition that has its hands full; the others take what there is at once. It returns the sums
// by channel. One that cannot be asked is left out, and the error says so.
func (w *Worker) Waiting(ctx context.Context) (map[string]uint64, error) {
	_, tenures := w.stats.status()
	out := map[string]uint64{}
	var failed error
	for _, t := range tenures {
		t.mu.Lock()
		busy, received := t.lanes.Updates() > 0, t.lanes.Received()
		t.mu.Unlock()
		consumer := t.progress.Now().Consumer
		if !busy || consumer == "" {
			continue
		}
		c, err := t.b.js.Consumer(ctx, t.stream, consumer)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if err != nil {
			failed = fmt.Errorf("channel %s, partition %d: %w", t.p.r.entry.Config.Name, t.p.index, err)
			continue
		}
		info := c.CachedInfo()
		onTheWay := max(info.Delivered.Consumer, received) - received
		out[t.p.r.entry.Config.Name] += info.NumPending + onTheWay
	}
	return out, failed
}

// heldBy returns for which reason a tenure does not move, of those that were announced; "" if
// it does.
func heldBy(waits []workers.Wait, t *tenure) why.Code {
	for i := range waits {
		if waits[i].Concerns(t.p.r.entry.Config.Name, t.p.index) {
			return waits[i].Code
		}
	}
	return ""
}

func (t *tenure) status(held why.Code) PartitionStatus {
	cfg := &t.p.r.entry.Config
	s := PartitionStatus{
		Channel: cfg.Name, Kind: cfg.Connector.Kind, Partition: t.p.index, Since: t.since, TakenOver: t.takenOver.Load(),
	}
	s.Circuit, s.CircuitSince, s.Reason = t.p.r.gate.Status()
	s.Standings, s.Estimated = t.standings(held), t.census.estimated.Load()
	hand := t.hand()
	s.Updates, s.Keys, s.Ready, s.Parked, s.InFlight, s.Oldest = hand.Updates, hand.Keys, hand.Ready, hand.Parked, hand.InFlight, hand.Oldest
	return s
}

// standings say how the partition's keys stand, while a reason holds it back; nil while that
// is not known.
func (t *tenure) standings(held why.Code) why.Counts {
	t.mu.Lock() // what is in hand, and the records, at the same moment
	defer t.mu.Unlock()
	hand := t.lanes.Holdings(nil)
	for i := range hand {
		hand[i].Standing = hand[i].Standing.Held(held)
	}
	all, known := t.view.Standings(hand)
	if !known {
		return nil
	}
	return all.Sorted()
}

// hand counts what the tenure has in hand.
func (t *tenure) hand() lanes.Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lanes.Hand()
}
