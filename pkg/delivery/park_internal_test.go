package delivery

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// fillLanes has the tenure take versions 1 to n of each key, without a call
// for any. It may be used once: another pull begins with another consumer.
func (b *bench) fillLanes(t *testing.T, tn *tenure, n int, keys ...string) {
	t.Helper()
	pub, err := publish.New(t.Context(), b.JS, events.DefaultNames())
	testkit.Must(t, err)
	for _, key := range keys {
		for v := range n {
			_, err := pub.Publish(t.Context(), events.Update{Channel: "cal", Key: key, Version: testkit.Number(int64(v + 1)), Payload: []byte("1")})
			testkit.Must(t, err)
		}
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() { tn.feeds(t, ctx) })
	testkit.Eventually(t, "the updates", func() (all bool) {
		tn.at(func(m *lanes.Lanes) { all = m.Updates() == n*len(keys) })
		return all
	})
	cancel()
	wg.Wait()
}

// sequencesOf returns where the updates of a key lie in the parked stream, in the order of
// the key; 0 for those that are not there.
func (t *tenure) sequencesOf(key string) (at []uint64) {
	var items []*lanes.Item
	t.at(func(m *lanes.Lanes) {
		m.Held(func(it *lanes.Item) {
			if it.Update.Key == key {
				items = append(items, it)
			}
		})
		slices.SortFunc(items, func(a, b *lanes.Item) int { return cmp.Compare(a.Seq, b.Seq) })
		for _, it := range items {
			at = append(at, it.Parked)
		}
	})
	return at
}

// parkedOf returns how many updates of a key the parked stream has.
func (t *tenure) parkedOf(key string) (n int) {
	for _, at := range t.sequencesOf(key) {
		if at > 0 {
			n++
		}
	}
	return n
}

// failNext has the next n keys fail so that they are parked.
func (t *tenure) failNext(tt *testing.T, n int) {
	tt.Helper()
	answer := lanes.Answered(connectors.Failed(connectors.Transient, "503", errors.New("busy")), gate.Verdict{Counts: true})
	t.at(func(m *lanes.Lanes) {
		batch, _ := m.Next(n, false)
		for _, l := range batch {
			if !m.Concluded(l, &answer) {
				tt.Errorf("%s is not parked", l.Key().Encoded())
			}
		}
		m.CallEnded(false)
		if len(batch) != n {
			tt.Fatalf("%d keys are ready, want %d", len(batch), n)
		}
	})
}

// A key whose many updates are being parked does not hold up one that fails later,
// nor do more keys than are parked at a time hold up those behind them.
func TestKeysThatAreParkedTakeTurns(t *testing.T) {
	const versions, crowd = 4, parking.AtOnce
	b := newBench(t, acceptAll)
	cfg := memoryChannel("cal", channels.Every)
	cfg.Window = 2 * versions * crowd
	r := b.run(t, cfg)
	r.parkAfter = 0 // with the first failure
	tn := b.tenure(t, r)
	testkit.Must(t, tn.takeOver(t.Context()))
	defer tn.stopAlarm()
	keys := []string{"many"}
	for i := range crowd - 1 {
		keys = append(keys, "k"+strconv.Itoa(i))
	}
	b.fillLanes(t, tn, versions, append(keys, "late")...)
	mover, err := tn.parked.Mover()
	testkit.Must(t, err)
	defer mover.Close()
	tn.failNext(t, len(keys))
	round := func(under []*lanes.Lane) []*lanes.Lane {
		return tn.parker.round(t.Context(), mover, append(under, tn.parker.take()...))
	}
	under := round(nil)
	tn.failNext(t, 1)
	under = round(under) // it is full without the late one
	if got := tn.parkedOf("late"); got != 0 {
		t.Fatalf("%d updates of the last key are parked in a round that was full", got)
	}
	under = round(under)
	if late, many := tn.parkedOf("late"), tn.parkedOf("many"); late != 1 || many >= versions {
		t.Errorf("%d updates of the late key are parked, not 1; %d of %d of the first one", late, many, versions)
	}
	for len(under) > 0 {
		under = round(under)
	}
	for told := tn.commits.take(); len(told) > 0; told = tn.commits.take() {
		tn.letGo(told, 0) // as if the log had them
	}
	tn.at(func(m *lanes.Lanes) {
		if hand := m.Hand(); !m.Idle() || hand.Parked != len(keys)+1 {
			t.Errorf("idle %v; %d of %d keys are parked", m.Idle(), hand.Parked, len(keys)+1)
		}
	})
	for _, key := range append(keys, "late") {
		at := tn.sequencesOf(key)
		if len(at) != versions || at[0] == 0 || !slices.IsSorted(at) {
			t.Errorf("%s is parked out of order, or not all: %v", key, at)
		}
	}
}
