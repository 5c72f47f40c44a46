package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/hms-utl/extsync/pkg/delivery/internal/flow"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
)

// A desk is where a tenure decides: its lanes, and the lock around them. Whoever tells the
// lanes of an event stands between begin and end, which carries out what they want done
// before anybody else sees them. Nothing that waits for the broker or a target is done there.
type desk struct {
	mu    sync.Mutex
	lanes *lanes.Lanes
	share *flow.Share // of the budget: what the lanes hold, in bytes
	// acked is up to where outcomes are in the view and their acks sent.
	acked uint64
	idle  chan struct{} // closed when becomesIdle's condition holds
	alarm dueTimer

	wakePull    chan struct{} // there is room in the window
	wakeRefresh chan struct{} // what is held is to be given back
}

// begin locks the lanes for an event.
func (t *tenure) begin() {
	t.mu.Lock()
	if t.ctx.Err() != nil {
		t.lanes.End()
	}
}

// end carries out what events have left to do, and lets others go on.
func (t *tenure) end() {
	t.carryOut(t.lanes.Todo())
	if t.idle != nil && t.lanes.Idle() {
		close(t.idle)
		t.idle = nil
	}
	if at, waits := t.lanes.NextDue(); waits {
		t.alarm.set(at, t.tick)
	}
	t.mu.Unlock()
}

// tick follows the alarm.
func (t *tenure) tick() {
	t.begin()
	defer t.end()
	t.alarm.at = time.Time{}
	t.lanes.Tick()
}

// carryOut does what is done in memory at once, and hands the rest to the loops.
func (t *tenure) carryOut(a *lanes.Actions) {
	for i := range a.Commits {
		t.view.Hold(a.Commits[i].Key)
	}
	t.commits.add(a.Commits)
	t.parker.add(a.Park)
	for _, l := range a.Load {
		go t.parker.load(l, l.LoadFrom())
	}
	for _, seq := range a.Delete {
		t.parker.forget(seq)
	}
	if len(a.Acks) > 0 && t.flushes.acks.add(a.Acks) {
		t.view.Ask(func(error) {})
	}
	for _, it := range a.Unload {
		t.contents.unload(it, t.lanes.Holds(it))
	}
	for _, it := range a.Drop {
		t.contents.drop(it)
	}
	for _, k := range a.Unpin {
		t.view.Unpin(k)
	}
	for _, e := range a.Ended {
		e.Tell(e.Settled)
	}
	for _, r := range a.Replayed {
		r.Item.Rim.Replayed(r)
	}
	for _, it := range a.Refused {
		t.refused(it)
	}
	if a.Give > 0 {
		t.share.Give(a.Give)
	}
	t.wake(a.Wake)
	a.Clear()
}

func (t *tenure) wake(w lanes.Wake) {
	if w.Pull {
		signal(t.wakePull)
	}
	if w.Dispatch {
		signal(t.calls.wake)
	}
	if w.Resync {
		signal(t.resyncs.room)
	}
	if w.Refresh {
		signal(t.wakeRefresh)
	}
	if w.Flush {
		t.view.Stir()
	}
	if w.Tidy {
		signal(t.parker.untidy)
	}
}

// becomesIdle waits until no call is in flight and nothing waits to be committed, for
// some time at most, and reports whether that was so.
func (t *tenure) becomesIdle(ctx context.Context, most time.Duration) bool {
	idle := make(chan struct{})
	t.begin()
	t.idle = idle
	t.end()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-idle:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle = nil
	return false
}

// A dueTimer is the one timer for all lanes that wait.
type dueTimer struct {
	timer *time.Timer
	at    time.Time // when it rings; zero: it does not
	off   bool      // for good
}

// set has ring called at a time, in a goroutine of its own, unless it rings earlier: then
// it is set again.
func (a *dueTimer) set(at time.Time, ring func()) {
	switch {
	case a.off || !a.at.IsZero() && !at.Before(a.at):
		return
	case a.timer == nil:
		a.timer = time.AfterFunc(time.Until(at), ring)
	default:
		a.timer.Reset(time.Until(at))
	}
	a.at = at
}

// stopAlarm has no lane go on any more because it is due.
func (t *tenure) stopAlarm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.alarm.off = true
	if t.alarm.timer != nil {
		t.alarm.timer.Stop()
	}
}

// GateChanged has the progress written, where operators read the gate's state.
func (t *tenure) GateChanged() { t.view.Look() }

// GateMoved has the dispatcher ask the gate again.
func (t *tenure) GateMoved() { signal(t.calls.wake) }

// GateFreed lets every lane that waits try now, or has what is held read again: the target
// is back.
func (t *tenure) GateFreed(lasted time.Duration) {
	t.begin()
	defer t.end()
	t.lanes.Freed(lasted)
}

// GateHurried lets every lane that waits try now, whatever the target has asked for.
func (t *tenure) GateHurried() {
	t.begin()
	defer t.end()
	t.lanes.Hurried()
}
