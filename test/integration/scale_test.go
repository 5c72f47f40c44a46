package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// From one worker to four and back, nothing is written twice out of order, and no
// partition waits longer than a lease.
func TestScaleOutAndBackWhileUpdatesFlow(t *testing.T) {
	t.Parallel()
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			rounds := sized(t, "rounds", 1, 10)
			const partitions = 4
			r := newRig(t)
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
			r.channel("c", mode, "http", tg.Connector())
			workers := []*faults.Process{r.worker("w0")}
			const perSecond, endless = 300, 1 << 20
			p := r.publish(load{channel: "c", keys: 200, updates: endless, over: endless / perSecond * time.Second})
			writing(r, tg, "w0")
			began := tg.Now()
			started := 1
			for range rounds {
				for len(workers) < partitions {
					workers = append(workers, r.worker(fmt.Sprintf("w%d", started)))
					started++
				}
				for _, w := range workers {
					writing(r, tg, w.Name)
				}
				for _, w := range workers[1:] {
					w.Terminate()
					if code, err := w.ExitCode(testkit.Patience); err != nil || code != 0 {
						t.Errorf("worker %s: exit code %d, %v", w.Name, code, err)
					}
				}
				workers = workers[:1]
				writing(r, tg, workers[0].Name)
			}
			ended := tg.Now()
			p.stop()
			r.check("c", mode, p.wait(r), func() (faults.History, error) { return tg.History(), nil })
			gap, partition := longestGap(t, tg.History(), partitions, began, ended)
			t.Logf("the longest that a partition waited is %s", gap)
			if gap > leaseTTL {
				t.Errorf("partition %d waited %s, longer than a lease of %s", partition, gap, leaseTTL)
			}
		})
	}
}

// longestGap returns the longest time between two writes of one partition.
func longestGap(t testing.TB, h faults.History, partitions int, from, to time.Duration) (longest time.Duration, partition int) {
	t.Helper()
	last := make([]time.Duration, partitions)
	note := func(p int, at time.Duration) {
		if gap := at - last[p]; gap > longest {
			longest, partition = gap, p
		}
		last[p] = at
	}
	for p := range last {
		last[p] = from
	}
	for _, w := range h.Writes {
		enc, err := events.EncodeKey(w.Key)
		if err != nil {
			t.Fatal(err)
		}
		if w.At > from && w.At < to {
			note(wire.Partition(enc, partitions), w.At)
		}
	}
	for p := range last {
		note(p, to)
	}
	return longest, partition
}
