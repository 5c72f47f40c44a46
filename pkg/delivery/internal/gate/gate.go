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
	// OpenAfter is after how many failed calls in a row, of at least openKeys
	// different keys, the circuit opens. One poison key alone never opens it.
	OpenAfter = 5
	openKeys  = 2
	// openQuiet is for how long there must have been no success. Where many keys
	// always fail, their retries come due together, and five of them in a row are
	// no sign that the target is down while others get through (guarantee 7).
	openQuiet = 100 * time.Millisecond
	// blockAfter is after how many permanent failures in a row the channel is
	// blocked: then it is hardly the updates' fault.
	blockAfter = 20

	// Between two probes no more than this passes: it is how long a target that is
	// back is left waiting.
	openProbeFirst, openProbeMost       = time.Second, 10 * time.Second
	blockedProbeFirst, blockedProbeMost = 2 * time.Second, time.Minute
	throttleDefault                     = time.Second
)

// ThrottleMost is how long a target may ask to be left alone; longer waits are cut.
const ThrottleMost = 15 * time.Minute

// A Gate stands in front of a channel's target. Failures that are the target's
// or the configuration's, not the update's, close the way for all updates and
// spend none of their attempts (guarantee 6). It is shared by the channel's
// partitions on this worker.
type Gate struct {
	o Options

	mu       sync.Mutex
	state    State
	since    time.Time // of state
	until    time.Time // no call before, in any state
	why      why.Code  // for which until is set, or the state is not closed
	reason   string    // why the state is not closed, for people
	trouble  string    // why the connector cannot be opened anew
	row      row
	probes   *backoff.ExponentialBackOff
	probing  bool            // a probe is on its way
	probed   time.Time       // when it was admitted
	fresh    bool            // the connector was opened anew for the probe that is due
	hurried  []chan struct{} // closed when the next probe has been reported
	lasted   time.Duration   // how long the last time was that calls did not flow
	watchers map[Watcher]struct{}
}

// A row is what the last results have in common.
type row struct {
	failures int                 // transient ones
	absences int                 // of these, those in a row in which nobody was there
	keys     map[string]struct{} // of the failures
	success  time.Time           // the last answer that was none
	refusals int                 // permanent failures
	unasked  few                 // keys of these for which the target was not asked
	costly   few                 // keys of transient ones for which it was not asked
}

// few are the first keys of something, as many as show that it is not one key's.
type few map[string]struct{}

// add reports whether there are enough of them.
func (f few) add(key string) bool {
	if len(f) < openKeys {
		f[key] = struct{}{}
	}
	return len(f) >= openKeys
}

// A Watcher is told what happens at a gate. None of its methods may call the
// gate.
type Watcher interface {
	// GateChanged follows each change of the state.
	GateChanged()
	// GateFreed says that the target is back after some time.
	GateFreed(after time.Duration)
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
	return &Gate{o: o, since: o.Now(), row: row{keys: map[string]struct{}{}, unasked: few{}, costly: few{}}, watchers: map[Watcher]struct{}{}}
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

// Admit returns how many updates may be attempted in one call now: want, 1 for a
// probe, or 0 and how long to wait before asking again. Who was admitted must
// call report or withdraw.
func (g *Gate) Admit(want int) (n int, probe bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if wait := g.until.Sub(g.o.Now()); wait > 0 {
		return 0, false, wait
	}
	if g.state == Closed {
		return want, false, 0
	}
	if wait := g.probed.Add(g.o.Patience).Sub(g.o.Now()); g.probing && wait > 0 {
		return 0, false, wait // its report wakes everybody sooner
	}
	g.probing, g.probed = true, g.o.Now()
	return 1, true, 0
}

// Withdraw gives a probe back that made no call.
func (g *Gate) Withdraw(probe bool) {
	if !probe {
		return
	}
	g.mu.Lock()
	g.probing = false
	g.mu.Unlock()
	g.wake(false)
}

// Freshen reports whether the connector is to be opened anew for a probe: once for each
// that is due, however many updates are not what could be tried.
func (g *Gate) Freshen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.fresh
	g.fresh = true
	return !was
}

// Hold keeps every call back for a while because of something on our own side,
// such as a full stream.
func (g *Gate) Hold(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until := g.o.Now().Add(d); until.After(g.until) {
		g.until = until
		if g.state == Closed {
			g.why = why.BrokerRefuses
		}
	}
}

// Hurry makes the next probe due now, and the ones after it soon; a wait that the
// target has asked for is over. What it returns is closed when the next attempt has
// been reported: at once if calls flow.
func (g *Gate) Hurry() <-chan struct{} {
	done := make(chan struct{})
	g.mu.Lock()
	if g.state == Closed && !g.until.After(g.o.Now()) {
		g.mu.Unlock()
		close(done)
		return done
	}
	g.hurried = append(g.hurried, done)
	if g.state == Closed {
		g.until = time.Time{}
	} else if !g.probing {
		g.probes.Reset()
		g.until, g.fresh = g.o.Now(), false
	}
	g.tellWatchers()
	watchers := g.listWatchers()
	g.mu.Unlock()
	for _, w := range watchers { // a lane that waits for its next attempt may be the probe
		w.GateFreed(0)
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
