package gate

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/pkg/why"
)

// State is whether calls to a channel's target are made.
type State uint8

const (
	// Closed is a closed circuit: calls flow.
	Closed State = iota
	// Open: the target fails; one call at a time probes it.
	Open
	// Blocked: nothing will get through until an operator acts; probed too,
	// more slowly.
	Blocked
)

func (s State) String() string { return [...]string{"closed", "open", "blocked"}[s] }

const (
	// OpenAfter is after how many failed calls in a row the circuit opens.
	OpenAfter = 5
	// everybodyKeys is how many keys must fail, and none get through, for the fault to be
	// the channel's.
	everybodyKeys = 2
	// quiet is for how long there must have been no success. Among many calls at once two
	// keys that fail end next to each other by chance (guarantee 7).
	quiet = 100 * time.Millisecond
	// blockAfter is after how many permanent failures in a row the channel is
	// blocked: then it is hardly the updates' fault.
	blockAfter = 20

	// Between two probes no more than this passes: it is how long a target that is
	// back is left waiting.
	openProbeFirst, openProbeMost       = time.Second, 10 * time.Second
	blockedProbeFirst, blockedProbeMost = 2 * time.Second, time.Minute
	throttleDefault                     = time.Second
)

// A Gate stands in front of a channel's target. Failures that are the target's
// or the configuration's, not the update's, close the way for all updates and
// spend none of their attempts (guarantee 6). It is shared by the channel's
// partitions on this worker.
type Gate struct {
	o Options

	mu      sync.Mutex
	state   State
	since   time.Time // of state
	until   time.Time // no call before, in any state, but of a key that has not failed
	hold    time.Time // no call before
	why     why.Code  // for which the state is not closed
	reason  string    // why the state is not closed, for people
	trouble string    // why the connector cannot be opened anew
	row     row
	cast    cast
	// successes of the channel, from 1.
	successes uint64
	pace      pace
	probes    *backoff.ExponentialBackOff
	probe     probe
	fresh     fresh
	anew      bool            // the connector was opened anew for the probe that is due
	hurried   []chan struct{} // closed when the next probe has been reported
	lasted    time.Duration   // how long the last time was that calls did not flow
	watchers  map[Watcher]struct{}
}

// A probe is a call that is made while the others wait.
type probe struct {
	under bool      // it is on its way
	at    time.Time // when it was admitted
	in    State     // of the gate
	fresh bool      // it was not due: it is of a key that has not failed
}

// A Watcher is told what happens at a gate. None of its methods may call the
// gate.
type Watcher interface {
	// GateChanged follows each change of the state.
	GateChanged()
	// GateFreed says that the target is back after some time.
	GateFreed(after time.Duration)
	// GateHurried says that an operator wants no wait to be kept.
	GateHurried()
	// GateMoved says that admit may have another answer now.
	GateMoved()
}

// Options say what a gate is for.
type Options struct {
	Log zerolog.Logger
	// Hint is what to know besides when the channel is blocked by its configuration.
	Hint string
	// Patience is after how long a probe is given up whose call does not come back.
	Patience time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// New returns a gate through which calls flow.
func New(o Options) *Gate {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Gate{o: o, since: o.Now(), row: newRow(), successes: 1, watchers: map[Watcher]struct{}{}}
}

// Refusals returns how many updates the target has refused in a row for good, taking none.
func (g *Gate) Refusals() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.row.refusals
}

// Resume goes on with what another gate of the channel has counted. A target that refused
// everything refuses one more update, at most, before the channel is blocked again: each
// owner would give up another blockAfter of them otherwise.
func (g *Gate) Resume(refusals int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.successes == 1 { // else somebody has got through here
		g.row.refusals = max(g.row.refusals, min(refusals, blockAfter-1))
	}
}

// Watch lets w be told when the way is free again, and of every change of the
// state, until unwatch; of the state now, too, for it may not be the first.
func (g *Gate) Watch(w Watcher) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watchers[w] = struct{}{}
	w.GateChanged()
}

// Unwatch ends Watch.
func (g *Gate) Unwatch(w Watcher) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.watchers, w)
}

// Admit returns how many updates may be attempted in one call now: want at most, 1 for a
// probe, or 0 and how long to wait before asking again. fresh reports whether there is a
// key that has not failed: while the others wait it is tried at once, for it alone can
// tell whether anybody gets through. Who was admitted must call Report or Withdraw.
func (g *Gate) Admit(want int, fresh func() bool) (n int, isProbe bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.o.Now()
	if wait := g.hold.Sub(now); wait > 0 {
		return 0, false, wait
	}
	wait = g.until.Sub(now)
	if g.state == Closed && wait <= 0 {
		n, wait = g.pace.take(want, now)
		return n, false, wait
	}
	if patience := g.probe.at.Add(g.o.Patience).Sub(now); g.probe.under && patience > 0 {
		return 0, false, patience // its report wakes everybody sooner
	}
	if wait > 0 {
		if !fresh() {
			return 0, false, wait
		}
		if sooner := g.fresh.at.Sub(now); sooner > 0 {
			return 0, false, min(wait, sooner)
		}
	}
	g.probe = probe{under: true, at: now, in: g.state, fresh: wait > 0}
	return 1, true, 0
}

// Withdraw gives a probe back that made no call.
func (g *Gate) Withdraw(isProbe bool) {
	if !isProbe {
		return
	}
	g.mu.Lock()
	g.probe.under = false
	g.mu.Unlock()
	g.wake(false)
}

// Freshen reports whether the connector is to be opened anew for a probe: once for each
// that is due, however many updates are not what could be tried.
func (g *Gate) Freshen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.anew
	g.anew = true
	return !was
}

// Hold keeps every call back for a while because of something on our own side,
// such as a full stream.
func (g *Gate) Hold(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = later(g.hold, g.o.Now().Add(d))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Hurry makes the next probe due now, and the ones after it soon; waits that the target
// has asked for are over, and keys that fail are tried now. What it returns is closed when the next attempt has
// been reported: at once if calls flow.
func (g *Gate) Hurry() <-chan struct{} {
	done := make(chan struct{})
	g.mu.Lock()
	if now := g.o.Now(); g.state == Closed && !g.until.After(now) && !g.hold.After(now) {
		close(done)
	} else {
		g.hurried = append(g.hurried, done)
	}
	g.hold = time.Time{}
	if g.state == Closed {
		g.until = time.Time{}
	} else if !g.probe.under {
		g.probes.Reset()
		g.until, g.anew = g.o.Now(), false
	}
	g.tellWatchers()
	watchers := g.listWatchers()
	g.mu.Unlock()
	for _, w := range watchers { // a lane that waits for its next attempt may be the probe, or the one that fails
		w.GateHurried()
		w.GateMoved()
	}
	return done
}

// tellWatchers has what operators read brought up to date. The caller holds mu.
func (g *Gate) tellWatchers() {
	for w := range g.watchers {
		w.GateChanged()
	}
}

// listWatchers returns the watchers. The caller holds mu.
func (g *Gate) listWatchers() []Watcher { return slices.Collect(maps.Keys(g.watchers)) }

// wake lets the channel's partitions look again; with recovered, lanes that wait
// for their next attempt try at once.
func (g *Gate) wake(recovered bool) {
	g.mu.Lock()
	lasted, watchers := g.lasted, g.listWatchers()
	g.mu.Unlock()
	for _, w := range watchers {
		if recovered {
			w.GateFreed(lasted)
		}
		w.GateMoved()
	}
}
