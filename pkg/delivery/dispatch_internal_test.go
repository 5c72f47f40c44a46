package delivery

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
)

// waiter is a tenure with one lane that waits for its next attempt.
func waiter(t *testing.T) *tenure {
	w := &tenure{ctx: t.Context(), view: ledger.New(ledger.Options{Shared: &ledger.Shared{}})}
	t.Cleanup(w.view.Close)
	w.lanes = lanes.New(lanes.Options{Window: 10, Calls: 3, Now: time.Now})
	w.calls.wake = make(chan struct{}, 1)
	l := w.attempt(itemOf("k", 1))
	woken(w)
	w.at(func(m *lanes.Lanes) { m.Postpone(time.Hour, l) })
	t.Cleanup(w.stopAlarm)
	return w
}

func (t *tenure) isReady() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lanes.Ready() == 1
}

func woken(t *tenure) bool {
	select {
	case <-t.calls.wake:
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
	if !w.isReady() || !woken(w) {
		t.Fatal("the lane that waits is not tried")
	}
}

// One timer serves all lanes: the earliest counts, whatever it was set to before.
func TestLanesGoOnWhenTheyAreDue(t *testing.T) {
	w := waiter(t)
	l := w.attempt(itemOf("soon", 2))
	w.at(func(m *lanes.Lanes) { m.Postpone(20*time.Millisecond, l) })
	testkit.Eventually(t, "the lane that is due soon to be ready", w.isReady)
	if due, ok := w.waits(); !ok || time.Until(due) < time.Minute {
		t.Errorf("the other one waits until %s", due)
	}
}
