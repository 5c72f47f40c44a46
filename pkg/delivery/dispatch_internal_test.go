package delivery

import (
	"slices"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
)

// waiter is a tenure with one lane that waits for its next attempt.
func waiter(t *testing.T) *tenure {
	w := &tenure{
		ctx: t.Context(), lanes: map[string]*lane{}, wakeDispatch: make(chan struct{}, 1),
		view: ledger.New(ledger.Options{Shared: &ledger.Shared{}}),
	}
	t.Cleanup(w.view.Close)
	l := &lane{key: "k", queue: []*item{itemOf("k", 1)}, due: time.Now().Add(time.Hour)}
	w.lanes["k"] = l
	w.locked(func() { w.proceed(l) })
	t.Cleanup(w.stopTimers)
	return w
}

func (t *tenure) isReady() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.ready) == 1
}

func woken(t *tenure) bool {
	select {
	case <-t.wakeDispatch:
		return true
	default:
		return false
	}
}

// What a gate tells its watchers: the dispatcher looks again, and lanes that wait are
// tried at once when the target is back.
func TestTenureFollowsItsGate(t *testing.T) {
	w := waiter(t)
	w.GateMoved()
	if !woken(w) || w.isReady() {
		t.Fatal("the dispatcher was not woken, or a lane was")
	}
	w.GateFreed(0)
	if !w.isReady() {
		t.Fatal("the lane that waits is not tried")
	}
}

func TestProbeTakesAKeyThatHasNotFailedYet(t *testing.T) {
	b := newBench(t, acceptAll)
	tn := b.tenure(t, b.run(t, memoryChannel("cal", channels.Every)))
	tn.locked(func() {
		for i, key := range []string{"poison1", "poison2", "healthy", "other"} {
			it := itemOf(key, int64(i+1))
			if i < 2 {
				it.first = time.Now()
			}
			l := &lane{key: key, queue: []*item{it}, queued: true}
			tn.lanes[key], tn.ready = l, append(tn.ready, l)
		}
		tn.preferHealthy()
		var order []string
		for _, l := range tn.popReady(4) {
			order = append(order, l.key)
		}
		if want := []string{"healthy", "poison1", "poison2", "other"}; !slices.Equal(order, want) {
			t.Errorf("%v, want %v", order, want)
		}
	})
}
