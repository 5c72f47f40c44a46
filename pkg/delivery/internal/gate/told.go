package gate

import (
	"errors"
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
)

// Status returns the state for people: its name, since when, and why.
func (g *Gate) Status() (state string, since time.Time, reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.String(), g.since, g.told()
}

// told returns why calls do not flow, for people. The caller holds mu.
func (g *Gate) told() string {
	if g.state != Closed && g.trouble != "" {
		return plain.Text(g.reason+"; "+g.trouble, events.MaxMessageLen)
	}
	return g.reason
}

// NextProbe returns when the next probe is due; zero if calls flow, and while a probe
// is on its way.
func (g *Gate) NextProbe() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == Closed || g.probing {
		return time.Time{}
	}
	return g.until
}

// Note keeps why the connector could not be opened anew; nil: it could. It reports
// whether that is news.
func (g *Gate) Note(err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.trouble
	g.trouble = ""
	if err != nil {
		g.trouble = err.Error()
	}
	return g.trouble != was
}

// Troubled returns why the connector could not be opened anew; "" if it could.
func (g *Gate) Troubled() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.trouble
}

// ClosedSince returns since when calls flow; the zero time if they do not.
func (g *Gate) ClosedSince() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != Closed {
		return time.Time{}
	}
	return g.since
}

// explain keeps why calls do not flow. The caller holds mu.
func (g *Gate) explain(res connectors.Result) {
	g.reason, g.why = plain.Message(res), shutBy(g.state, res)
	if res.Class == connectors.Misconfigured && g.o.Hint != "" {
		g.reason = plain.Text(g.reason+" ("+g.o.Hint+")", events.MaxMessageLen)
	}
}

// Held returns why the gate holds the channel back; false if it does not. The zero
// Since: that is not known.
func (g *Gate) Held(now time.Time) (w why.Reason, held bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == Closed && !g.until.After(now) {
		return w, false
	}
	w.Code, w.Message, w.Since = g.why, g.told(), g.since
	switch {
	case g.state != Closed:
	case g.why == why.RateLimited:
		w.Message, w.Since = "the target has asked to wait", time.Time{}
	default:
		w.Message, w.Since = "the broker does not take dead letters or ledger records; the worker's log says why", time.Time{}
	}
	if g.until.After(now) {
		w.Next = g.until
	}
	return w, true
}

// shutBy returns the code of what has opened a circuit or blocked a channel.
func shutBy(state State, res connectors.Result) why.Code {
	switch {
	case state == Open:
		return why.CircuitOpen
	case errors.Is(res.Err, connectors.ErrNotAllowed):
		return why.NotAllowed
	case errors.Is(res.Err, connectors.ErrSecret):
		return why.SecretMissing
	case res.Class == connectors.Permanent:
		return why.TargetRefuses
	case slices.Contains(credentialCodes(), res.Code):
		return why.CredentialsRefused
	default:
		return why.Misconfigured
	}
}

// credentialCodes are those with which connectors say that a login or what it may do
// is refused: of HTTP, PostgreSQL and MySQL.
func credentialCodes() []string {
	return []string{"401", "403", "407", "login", "28000", "28P01", "42501", "1044", "1045", "1142", "1143"}
}
