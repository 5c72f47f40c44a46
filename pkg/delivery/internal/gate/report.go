package gate

import (
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/why"
)

// Report tells how an attempt of a key ended. It returns whether a failure
// counts against the update: only while the circuit was closed, and not when it
// is the one that blocks the channel.
func (g *Gate) Report(key string, res connectors.Result, probe bool) (counts bool) {
	g.mu.Lock()
	before := g.state
	counts = before == Closed && !probe
	if probe {
		g.probing = false
	}
	// A call from before may have succeeded while the probe was on its way.
	probes := probe && before != Closed
	closed := false
	switch res.Class {
	case connectors.Transient:
		if res.Unasked {
			counts = g.costly(key, res, probes)
			break
		}
		g.row.failures++
		g.row.keys[key] = struct{}{}
		if g.row.absences++; !res.NobodyThere() {
			g.row.absences = 0
		}
		// Of one key alone that fails it is not known whether it or the target is to
		// blame, unless nobody was there to look at it.
		many := len(g.row.keys) >= openKeys || g.row.absences >= OpenAfter
		if probes {
			g.failedProbe(res)
		} else if g.state == Closed && g.row.failures >= OpenAfter && many && g.o.Now().Sub(g.row.success) >= openQuiet {
			g.shut(Open, res, openProbeFirst, openProbeMost)
		}
	case connectors.Permanent:
		g.row.refusals++
		own := res.Unasked && !g.row.unasked.add(key) // of one key alone it is not known whether it or the mapping is to blame
		switch {
		case res.Unasked && (own || g.row.refusals < blockAfter): // it says nothing of the target
			counts = true
		case probes && g.row.refusals < blockAfter: // the target is there again, and lets us in
			closed = g.reopen()
		case probes && (!res.Unasked || g.state != Open):
			g.failedProbe(res)
		case g.row.refusals >= blockAfter && (g.state == Closed || res.Unasked && g.state == Open):
			g.shut(Blocked, res, blockedProbeFirst, blockedProbeMost)
			counts = false
		}
	case connectors.Misconfigured:
		if g.state != Blocked {
			g.shut(Blocked, res, blockedProbeFirst, blockedProbeMost)
		} else if probes {
			g.failedProbe(res)
		}
	case connectors.Throttled:
		if probes {
			g.reason = plain.Message(res)
		}
		wait := res.RetryAfter
		if wait <= 0 {
			wait = throttleDefault
		}
		if until := g.o.Now().Add(min(wait, ThrottleMost)); until.After(g.until) {
			g.until = until
			if g.state == Closed {
				g.why = why.RateLimited
			}
		}
	default: // the target has answered
		g.row.refusals = 0
		closed = g.reopen()
	}
	if g.state != before || probe { // operators read it in the progress
		g.tellWatchers()
	}
	if probe || g.state == Closed {
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

// costly is a failure before the target was asked that can pass, such as a mapping
// that takes too long. It is the key's own until a second key has it and no other was
// delivered since. The caller holds mu.
func (g *Gate) costly(key string, res connectors.Result, probes bool) (counts bool) {
	switch {
	case g.state == Blocked:
		if probes {
			g.failedProbe(res)
		}
		return false
	case g.row.costly.add(key):
		g.shut(Blocked, res, blockedProbeFirst, blockedProbeMost)
		return false
	default:
		return true
	}
}

// reopen lets calls flow, and reports whether they did not. The caller holds mu.
func (g *Gate) reopen() bool {
	g.row.failures, g.row.absences, g.row.success = 0, 0, g.o.Now()
	clear(g.row.keys)
	clear(g.row.costly)
	clear(g.row.unasked)
	if g.state == Closed {
		return false
	}
	g.o.Log.Info().Str("was", g.state.String()).Msg("target is back")
	g.lasted = g.o.Now().Sub(g.since)
	g.state, g.until, g.reason, g.since = Closed, time.Time{}, "", g.o.Now()
	return true
}

// shut stops the channel. The caller holds mu.
func (g *Gate) shut(state State, res connectors.Result, first, most time.Duration) {
	g.state, g.since = state, g.o.Now()
	g.probes = backoff.NewExponentialBackOff(backoff.WithInitialInterval(first), backoff.WithMaxInterval(most*2/3),
		backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(0)) // half of it either way: never more than most
	g.planProbe()
	g.explain(res)
	g.o.Log.Warn().Str("circuit", state.String()).Str("code", res.Code).Str("reason", g.reason).
		Msg("channel is held; its updates are kept and spend no attempts")
}

// planProbe sets when the next probe is due. The caller holds mu.
func (g *Gate) planProbe() { g.until, g.fresh = g.o.Now().Add(g.probes.NextBackOff()), false }

// failedProbe plans the next probe and keeps what the target says now. The caller
// holds mu.
func (g *Gate) failedProbe(res connectors.Result) {
	g.planProbe()
	if g.state == Open || res.Class != connectors.Transient { // that nobody is there does not unblock
		g.explain(res)
	}
}
