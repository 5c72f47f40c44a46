package gate

import (
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
)

// A Verdict says whose fault a failure is.
type Verdict struct {
	// Counts says that it is the update's own: while calls flow, of a key that keeps failing
	// although another got through, or one that no other key would have met.
	Counts bool
	// Others says that another key got through since this one failed last.
	Others bool
	// Shut says that the channel waits: its probes set the pace.
	Shut bool
	// Closed is since when the circuit was closed when the call ended; zero: it was not.
	Closed time.Time
	// Standing is that of the key from now on.
	Standing Standing
}

// Report tells how an attempt of a key ended that stood as it was, and returns whose fault
// it is.
func (g *Gate) Report(key string, was Standing, res connectors.Result, isProbe bool) Verdict {
	g.mu.Lock()
	before, now := g.state, g.o.Now()
	g.cast.meet(key)
	c := call{
		Result: res, key: key, now: now, was: was, suspect: was.suspect(g.successes),
		// A call from before may have succeeded while the probe was on its way.
		probes: isProbe && before != Closed,
		flows:  before == Closed && (!isProbe || g.probe.in == Closed),
	}
	v := Verdict{Others: was.others(g.successes)}
	if before == Closed {
		v.Closed = g.since
	}
	if isProbe {
		g.probe.under = false
		c.fresh = g.probe.fresh
	}
	if c.fresh && res.Class != connectors.OK { // if it is none, it does not matter
		g.fresh.failed(now, openProbeFirst, blockedProbeMost)
	}
	lifted, closed := false, false
	switch res.Class {
	case connectors.Permanent:
		v.Counts, closed = g.refused(&c)
		if v.Standing = was; !v.Counts {
			v.Standing = was.failed(g.successes)
		}
	case connectors.Transient, connectors.Throttled, connectors.Misconfigured, connectors.Unready:
		v.Standing = was.failed(g.successes)
		v.Counts = g.failed(&c)
	default: // the target has answered
		g.successes++
		g.row.refusals = 0
		g.pace.delivered(now)
		lifted = g.until.After(now)
		closed = g.reopen()
		g.until = time.Time{}
	}
	v.Shut = g.state != Closed || g.until.After(now)
	if g.state != before || isProbe { // operators read it in the progress
		g.tellWatchers()
	}
	if isProbe || g.state == Closed {
		for _, done := range g.hurried {
			close(done)
		}
		g.hurried = nil
	}
	g.mu.Unlock()
	if closed || lifted || isProbe {
		g.wake(closed)
	}
	return v
}

// A call is what Report was told.
type call struct {
	connectors.Result
	key     string
	was     Standing
	now     time.Time
	suspect bool // another key got through since this one began to fail
	probes  bool // the channel waited for it
	fresh   bool // it was a try of a key that had not failed, before the probe was due
	flows   bool // it was made while calls flowed, and they do
}

// failed follows a failure that can pass, and reports whether it is the update's own. What
// a suspect meets says nothing of the channel. The caller holds mu.
func (g *Gate) failed(c *call) (own bool) {
	if c.Unasked {
		return g.costly(c)
	}
	if !c.suspect {
		g.row.add(c.key, c.now)
	}
	if g.row.absences++; !c.NobodyThere() {
		g.row.absences = 0
	}
	all := !c.suspect && g.everybody()
	switch c.Class {
	case connectors.Misconfigured:
		if g.state != Blocked && all || g.state == Open && !c.suspect {
			g.shut(Blocked, c.Result, blockedProbeFirst, blockedProbeMost)
			return false
		}
	case connectors.Throttled:
		g.throttled(c, all)
	default:
		if !c.suspect {
			g.row.failures++
		}
		down := all && g.row.failures >= OpenAfter || g.row.absences >= OpenAfter && g.isQuiet()
		if g.state == Closed && down {
			g.shut(Open, c.Result, openProbeFirst, openProbeMost)
			return false
		}
	}
	g.failedTry(c)
	return c.flows && c.suspect && g.state == Closed
}

// everybody reports whether what fails is the channel's: a second key fails, and none got
// through since; or there is no other key. The caller holds mu.
func (g *Gate) everybody() bool {
	return (!g.cast.several || len(g.row.keys) >= everybodyKeys) && g.isQuiet()
}

func (g *Gate) isQuiet() bool { return g.o.Now().Sub(g.row.success) >= quiet }

// throttled has the channel wait if nobody gets through, else slow down. The caller holds
// mu.
func (g *Gate) throttled(c *call, all bool) {
	wait := c.RetryAfter
	if wait <= 0 {
		wait = throttleDefault
	}
	switch until := c.now.Add(wait); {
	case g.state != Closed || all:
		g.until = later(g.until, until)
	case !c.was.Failing() && g.pace.throttled(c.key, c.now):
		g.o.Log.Info().Float64("updates_per_second", float64(g.pace.limit.Limit())).Msg("the target throttles; it gets less for a while")
	}
}

// failedTry follows a probe in vain, or another try while the channel waited. The caller
// holds mu.
func (g *Gate) failedTry(c *call) {
	if c.probes && !c.fresh && c.Class != connectors.Throttled {
		g.planProbe()
	}
	switch {
	case !c.probes:
	case c.Class == connectors.Throttled:
		g.reason = plain.Message(c.Result)
	case g.state == Open || c.Class == connectors.Permanent || c.Class == connectors.Misconfigured: // that nobody is there does not unblock
		g.explain(c.Result)
	}
}

// refused follows a failure for good, and reports whether it is the update's own, and
// whether calls flow from now on. The caller holds mu.
func (g *Gate) refused(c *call) (own, closed bool) {
	g.row.refusals++
	few := g.row.refusals < blockAfter
	one := c.Unasked && !g.row.unasked.add(c.key) // of one key alone it is not known whether it or the mapping is to blame
	switch {
	case c.Unasked && (one || few): // it says nothing of the target
		return true, false
	case c.probes && few: // the target is there again, and lets us in
		return false, g.reopen()
	case c.probes && (!c.Unasked || g.state != Open):
		g.failedTry(c)
		return false, false
	case !few && (g.state == Closed || c.Unasked && g.state == Open):
		g.shut(Blocked, c.Result, blockedProbeFirst, blockedProbeMost)
		return false, false
	default:
		return c.flows, false
	}
}

// costly is a failure before the target was asked that can pass, such as a mapping
// that takes too long. It is the key's own until a second key has it and no other was
// delivered since. The caller holds mu.
func (g *Gate) costly(c *call) (own bool) {
	switch {
	case g.state == Blocked:
		if c.probes {
			g.failedTry(c)
		}
		return false
	case !c.suspect && g.row.costly.add(c.key):
		g.shut(Blocked, c.Result, blockedProbeFirst, blockedProbeMost)
		return false
	default:
		return true
	}
}

// reopen lets calls flow, and reports whether they did not. The caller holds mu.
func (g *Gate) reopen() bool {
	g.row.end(g.o.Now())
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
func (g *Gate) planProbe() {
	g.until, g.anew = later(g.until, g.o.Now().Add(g.probes.NextBackOff())), false
}
