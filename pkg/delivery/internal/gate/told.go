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
	if g.state == Closed || g.probe.under {
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

// Shut reports whether calls do not flow.
func (g *Gate) Shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state != Closed
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
	switch {
	case g.state != Closed:
		w = why.Reason{Code: g.why, Message: g.told(), Since: g.since, Next: g.until, Failing: g.row.failing()}
	case g.hold.After(now):
		w = why.Reason{
			Code: why.BrokerRefuses, Next: g.hold,
			Message: "the broker does not take dead letters or ledger records; the worker's log says why",
		}
	case g.until.After(now):
		w = why.Reason{Code: why.RateLimited, Next: g.until, Message: "the target has asked to wait", Failing: g.row.failing()}
	case g.pace.slow(now) != "":
		w = why.Reason{Code: why.RateLimited, Next: g.pace.next, Message: g.pace.slow(now)}
	default:
		return w, false
	}
	if !w.Next.After(now) {
		w.Next = time.Time{}
	}
	return w, true
}

// failing says for people which keys fail while nobody gets through.
func (r *row) failing() *why.Failing {
	f := &why.Failing{Since: r.began, More: r.more}
	for _, enc := range r.keys {
		key, err := events.DecodeKey(enc)
		if err != nil {
			key = enc
		}
		f.Keys = append(f.Keys, plain.Text(key, toldKeyLen))
	}
	return f
}

// toldKeyLen bounds what is shown of a key there, in bytes.
const toldKeyLen = 64

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
