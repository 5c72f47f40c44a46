package delivery

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
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

func TestGateWakesItsWatchers(t *testing.T) {
	g := newClockGate(t)
	w := waiter(t)
	g.watch(w)
	g.open()
	g.probe()
	g.report("k", failed(connectors.Transient), true)
	if !woken(w) || w.isReady() {
		t.Fatal("a failed probe must wake those who look for the next, and no lane")
	}
	g.probe()
	g.report("k", connectors.Done(), true)
	g.wantState(gateClosed)
	if !woken(w) || !w.isReady() {
		t.Fatal("the target is back: lanes that wait must be tried at once")
	}
	if n, probe, _ := g.admit(10); n != 10 || probe {
		t.Fatalf("after recovery: %d, %v", n, probe)
	}
	g.unwatch(w)
	g.open()
	g.probe()
	g.withdraw(true)
	if woken(w) {
		t.Fatal("woken after unwatch")
	}
}
