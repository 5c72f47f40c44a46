package delivery

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
	"github.com/hms-utl/extsync/pkg/events"
)

// fillLanes has the tenure take versions 1 to n of each key, without a call
// for any. It may be used once: another pull begins with another consumer.
func (b *bench) fillLanes(t *testing.T, tn *tenure, n int, keys ...string) {
	t.Helper()
	pub, err := events.NewPublisher(t.Context(), b.JS, events.DefaultNames())
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
		tn.locked(func() { all = len(tn.held) == n*len(keys) })
		return all
	})
	cancel()
	wg.Wait()
}

// parkedOf returns how many updates of a lane the parked stream has.
func (t *tenure) parkedOf(key string) (n int) {
	t.locked(func() { n = len(t.lanes[key].queue) - len(t.lanes[key].unparked()) })
	return n
}

// A key whose many updates are being parked does not hold up one that fails later,
// nor do more keys than are parked at a time hold up those behind them.
func TestKeysThatAreParkedTakeTurns(t *testing.T) {
	const versions, crowd = 4, parking.AtOnce
	b := newBench(t, acceptAll)
	cfg := memoryChannel("cal", channels.Every)
	cfg.Window = 2 * versions * crowd
	tn := b.tenure(t, b.run(t, cfg))
	testkit.Must(t, tn.takeOver(t.Context()))
	defer tn.stopTimers()
	keys := []string{"many"}
	for i := range crowd - 1 {
		keys = append(keys, "k"+strconv.Itoa(i))
	}
	b.fillLanes(t, tn, versions, append(keys, "late")...)
	mover, err := tn.parked.Mover()
	testkit.Must(t, err)
	defer mover.Close()
	tn.locked(func() {
		for _, key := range keys {
			tn.startParking(tn.lanes[key])
		}
	})
	round := func(lanes []*lane) []*lane {
		return tn.parkRound(t.Context(), mover, append(lanes, tn.takeToPark()...))
	}
	lanes := round(nil)
	tn.locked(func() { tn.startParking(tn.lanes["late"]) })
	lanes = round(lanes) // it is full without the late one
	if got := tn.parkedOf("late"); got != 0 {
		t.Fatalf("%d updates of the last key are parked in a round that was full", got)
	}
	lanes = round(lanes)
	if late, many := tn.parkedOf("late"), tn.parkedOf("many"); late != 1 || many >= versions {
		t.Errorf("%d updates of the late key are parked, not 1; %d of %d of the first one", late, many, versions)
	}
	for len(lanes) > 0 {
		lanes = round(lanes)
	}
	tn.locked(func() {
		if tn.moving != 0 {
			t.Errorf("%d lanes are still to be parked", tn.moving)
		}
		for _, key := range append(keys, "late") {
			l := tn.lanes[key]
			if len(l.unparked()) > 0 || !l.parked || l.busy {
				t.Errorf("%s: %d of %d not parked, busy %t", key, len(l.unparked()), len(l.queue), l.busy)
			}
			for i := 1; i < len(l.queue); i++ {
				if l.queue[i-1].parked >= l.queue[i].parked {
					t.Errorf("%s is parked out of order", key)
				}
			}
		}
	})
}
