package delivery

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
)

// gateState is whether calls to a channel's target are made.
type gateState uint8

const (
	// gateClosed is a closed circuit: calls flow.
	gateClosed gateState = iota
	// gateOpen: the target fails; one call at a time probes it.
	gateOpen
	// gateBlocked: nothing will get through until an operator acts; probed too,
	// more slowly.
	gateBlocked
)

func (s gateState) String() string { return [...]string{"closed", "open", "blocked"}[s] }

const (
	// openAfter is after how many failed calls in a row, of at least openKeys
	// different keys, the circuit opens. One poison key alone never opens it.
	openAfter = 5
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
	throttleDefault, throttleMost       = time.Second, 15 * time.Minute
)

// A gate stands in front of a channel's target. Failures that are the target's
// or the configuration's, not the update's, close the way for all updates and
// spend none of their attempts (guarantee 6). It is shared by the channel's
// partitions on this worker.
type gate struct {
	log zerolog.Logger
	now func() time.Time
	// hint is what to know besides when the channel is blocked by its configuration.
	hint string

	mu       sync.Mutex
	state    gateState
	until    time.Time     // no call before, in any state
	why      why.Code      // for which until is set, or the state is not closed
	probing  bool          // a probe is on its way
	probed   time.Time     // when it was admitted
	patience time.Duration // after how long it is given up: its call does not come back
	fresh    bool          // the connector was opened anew for the probe that is due
	probes   *backoff.ExponentialBackOff
	hurried  []chan struct{} // closed when the next probe has been reported
	trouble  string          // why the connector cannot be opened anew
	failures int
	absences int                 // of these, those in a row in which nobody was there
	success  time.Time           // the last answer that was none
	keys     map[string]struct{} // of the failures in a row
	refusals int                 // permanent failures in a row
	reason   string
	since    time.Time     // of state
	lasted   time.Duration // how long the last time was that calls did not flow
	watchers map[gateWatcher]struct{}
}

// A gateWatcher is told what happens at a gate. None of its methods may call the
// gate.
type gateWatcher interface {
	// gateChanged follows each change of the state.
	gateChanged()
	// gateFreed says that the target is back after some time.
	gateFreed(after time.Duration)
	// gateMoved says that admit may have another answer now.
	gateMoved()
}

func newGate(log zerolog.Logger) *gate {
	return &gate{log: log, now: time.Now, patience: time.Minute, since: time.Now(), keys: map[string]struct{}{}, watchers: map[gateWatcher]struct{}{}}
}

// watch lets w be told when the way is free again, and of every change of the
// state, until unwatch; of the state now, too, for it may not be the first.
func (g *gate) watch(w gateWatcher) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watchers[w] = struct{}{}
	w.gateChanged()
}

func (g *gate) unwatch(w gateWatcher) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.watchers, w)
}

// admit returns how many updates may be attempted in one call now: want, 1 for a
// probe, or 0 and how long to wait before asking again. Who was admitted must
// call report or withdraw.
func (g *gate) admit(want int) (n int, probe bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if wait := g.until.Sub(g.now()); wait > 0 {
		return 0, false, wait
	}
	if g.state == gateClosed {
		return want, false, 0
	}
	if wait := g.probed.Add(g.patience).Sub(g.now()); g.probing && wait > 0 {
		return 0, false, wait // its report wakes everybody sooner
	}
	g.probing, g.probed = true, g.now()
	return 1, true, 0
}

// withdraw gives a probe back that made no call.
func (g *gate) withdraw(probe bool) {
	if !probe {
		return
	}
	g.mu.Lock()
	g.probing = false
	g.mu.Unlock()
	g.wake(false)
}

// freshen reports whether the connector is to be opened anew for a probe: once for each
// that is due, however many updates are not what could be tried.
func (g *gate) freshen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.fresh
	g.fresh = true
	return !was
}

// hold keeps every call back for a while because of something on our own side,
// such as a full stream.
func (g *gate) hold(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until := g.now().Add(d); until.After(g.until) {
		g.until = until
		if g.state == gateClosed {
			g.why = why.BrokerRefuses
		}
	}
}

// status returns the state for people: its name, since when, and why.
func (g *gate) status() (state string, since time.Time, reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.String(), g.since, g.told()
}

// told returns why calls do not flow, for people. The caller holds mu.
func (g *gate) told() string {
	if g.state != gateClosed && g.trouble != "" {
		return clean(g.reason+"; "+g.trouble, events.MaxMessageLen)
	}
	return g.reason
}

// nextProbe returns when the next probe is due; zero if calls flow, and while a probe
// is on its way.
func (g *gate) nextProbe() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == gateClosed || g.probing {
		return time.Time{}
	}
	return g.until
}

// hurry makes the next probe due now, and the ones after it soon; a wait that the
// target has asked for is over. What it returns is closed when the next attempt has
// been reported: at once if calls flow.
func (g *gate) hurry() <-chan struct{} {
	done := make(chan struct{})
	g.mu.Lock()
	if g.state == gateClosed && !g.until.After(g.now()) {
		g.mu.Unlock()
		close(done)
		return done
	}
	g.hurried = append(g.hurried, done)
	if g.state == gateClosed {
		g.until = time.Time{}
	} else if !g.probing {
		g.probes.Reset()
		g.until, g.fresh = g.now(), false
	}
	g.tellWatchers()
	watchers := g.listWatchers()
	g.mu.Unlock()
	for _, w := range watchers { // a lane that waits for its next attempt may be the probe
		w.gateFreed(0)
		w.gateMoved()
	}
	return done
}

// note keeps why the connector could not be opened anew; nil: it could. It reports
// whether that is news.
func (g *gate) note(err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.trouble
	g.trouble = ""
	if err != nil {
		g.trouble = err.Error()
	}
	return g.trouble != was
}

// troubled returns why the connector could not be opened anew; "" if it could.
func (g *gate) troubled() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.trouble
}

// tellWatchers has what operators read brought up to date. The caller holds mu.
func (g *gate) tellWatchers() {
	for w := range g.watchers {
		w.gateChanged()
	}
}

// listWatchers returns the watchers. The caller holds mu.
func (g *gate) listWatchers() []gateWatcher { return slices.Collect(maps.Keys(g.watchers)) }

// closedSince returns since when calls flow; the zero time if they do not.
func (g *gate) closedSince() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != gateClosed {
		return time.Time{}
	}
	return g.since
}

// report tells how an attempt of a key ended. It returns whether a failure
// counts against the update: only while the circuit was closed, and not when it
// is the one that blocks the channel.
func (g *gate) report(key string, res connectors.Result, probe bool) (counts bool) {
	g.mu.Lock()
	before := g.state
	counts = before == gateClosed && !probe
	if probe {
		g.probing = false
	}
	// A call from before may have succeeded while the probe was on its way.
	probes := probe && before != gateClosed
	closed := false
	switch res.Class {
	case connectors.Transient:
		g.failures++
		g.keys[key] = struct{}{}
		if g.absences++; !res.NobodyThere() {
			g.absences = 0
		}
		// Of one key alone that fails it is not known whether it or the target is to
		// blame, unless nobody was there to look at it.
		many := len(g.keys) >= openKeys || g.absences >= openAfter
		if probes {
			g.failedProbe(res)
		} else if g.state == gateClosed && g.failures >= openAfter && many && g.now().Sub(g.success) >= openQuiet {
			g.shut(gateOpen, res, openProbeFirst, openProbeMost)
		}
	case connectors.Permanent:
		g.refusals++
		switch {
		case res.Unasked && g.refusals < blockAfter: // it says nothing of the target
			counts = true
		case probes && g.refusals < blockAfter: // the target is there again, and lets us in
			closed = g.reopen()
		case probes && !(res.Unasked && g.state == gateOpen):
			g.failedProbe(res)
		case g.refusals >= blockAfter && (g.state == gateClosed || res.Unasked && g.state == gateOpen):
			g.shut(gateBlocked, res, blockedProbeFirst, blockedProbeMost)
			counts = false
		}
	case connectors.Misconfigured:
		if g.state != gateBlocked {
			g.shut(gateBlocked, res, blockedProbeFirst, blockedProbeMost)
		} else if probes {
			g.failedProbe(res)
		}
	case connectors.Throttled:
		if probes {
			g.reason = message(res)
		}
		wait := res.RetryAfter
		if wait <= 0 {
			wait = throttleDefault
		}
		if until := g.now().Add(min(wait, throttleMost)); until.After(g.until) {
			g.until = until
			if g.state == gateClosed {
				g.why = why.RateLimited
			}
		}
	default: // the target has answered
		g.refusals = 0
		closed = g.reopen()
	}
	if g.state != before || probe { // operators read it in the progress
		g.tellWatchers()
	}
	if probe || g.state == gateClosed {
		for _, done := range g.hurried {
			close(done)
		}
		g.hurried = nil
	}
	g.mu.Unlock()
	if closed || probe {
		g.wake(closed)
	}
	return counts
}

// reopen lets calls flow, and reports whether they did not. The caller holds mu.
func (g *gate) reopen() bool {
	g.failures, g.absences, g.success = 0, 0, g.now()
	clear(g.keys)
	if g.state == gateClosed {
		return false
	}
	g.log.Info().Str("was", g.state.String()).Msg("target is back")
	g.lasted = g.now().Sub(g.since)
	g.state, g.until, g.reason, g.since = gateClosed, time.Time{}, "", g.now()
	return true
}

// shut stops the channel. The caller holds mu.
func (g *gate) shut(state gateState, res connectors.Result, first, most time.Duration) {
	g.state, g.since = state, g.now()
	g.probes = backoff.NewExponentialBackOff(backoff.WithInitialInterval(first), backoff.WithMaxInterval(most*2/3),
		backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(0)) // half of it either way: never more than most
	g.planProbe()
	g.explain(res)
	g.log.Warn().Str("circuit", state.String()).Str("code", res.Code).Str("reason", g.reason).
		Msg("channel is held; its updates are kept and spend no attempts")
}

// planProbe sets when the next probe is due. The caller holds mu.
func (g *gate) planProbe() { g.until, g.fresh = g.now().Add(g.probes.NextBackOff()), false }

// failedProbe plans the next probe and keeps what the target says now. The caller
// holds mu.
func (g *gate) failedProbe(res connectors.Result) {
	g.planProbe()
	if g.state == gateOpen || res.Class != connectors.Transient { // that nobody is there does not unblock
		g.explain(res)
	}
}

// explain keeps why calls do not flow. The caller holds mu.
func (g *gate) explain(res connectors.Result) {
	g.reason, g.why = message(res), shutBy(g.state, res)
	if res.Class == connectors.Misconfigured && g.hint != "" {
		g.reason = clean(g.reason+" ("+g.hint+")", events.MaxMessageLen)
	}
}

// wake lets the channel's partitions look again; with recovered, lanes that wait
// for their next attempt try at once.
func (g *gate) wake(recovered bool) {
	g.mu.Lock()
	lasted, watchers := g.lasted, g.listWatchers()
	g.mu.Unlock()
	for _, w := range watchers {
		if recovered {
			w.gateFreed(lasted)
		}
		w.gateMoved()
	}
}
