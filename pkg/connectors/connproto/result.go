package connproto

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// results turns an answer to apply into one result for each attempt. Where the answer does
// not have one for each, nothing is known of any.
func (c *Connector) results(a *Answer, n int) []connectors.Result {
	if len(a.Results) != n {
		return failAll(n, Violation("it gave %d results for %d attempts", len(a.Results), n))
	}
	out := make([]connectors.Result, n)
	for i := range a.Results {
		out[i] = c.result(&a.Results[i])
	}
	return out
}

func (c *Connector) result(r *result) connectors.Result {
	class, err := parseClass(r.Class)
	if err != nil {
		return connectors.Failed(connectors.Transient, codeProtocol, err)
	}
	out := connectors.Result{Class: class, Code: c.code(r.Code), RetryAfter: seconds(r.RetryAfter)}
	out.Response = c.env.Scrubber().Excerpt([]byte(r.Response), connectors.MaxResponse, false)
	if class == connectors.OK {
		if out.Remember = r.Remember; out.Remember.Check() != nil {
			out.Remember = nil
			c.env.Note("what the plugin gave to remember is refused: it is more than 256 bytes, or has an empty name or control characters")
		}
		return out
	}
	out.Err = errors.New(c.message(r.Message))
	if out.Code == "" {
		out.Code = "plugin"
	}
	if r.Held != nil {
		out.Held = versioning.Tag{Version: r.Held.Version, Digest: r.Held.Digest}
	}
	return out
}

// justified returns the results, but for those that call an update stale and show no newer
// version: it would be superseded by nothing.
func justified(attempts []connectors.Attempt, results []connectors.Result) []connectors.Result {
	for i := range results {
		if results[i].Class != connectors.Stale {
			continue
		}
		if order, err := attempts[i].Version.Compare(results[i].Held.Version); err != nil || order >= 0 {
			results[i] = connectors.Failed(connectors.Transient, codeProtocol, Violation("it calls an update stale, and what is held is not newer"))
		}
	}
	return results
}

// seconds returns a wait as a duration, within what may be asked for.
func seconds(s float64) time.Duration {
	if math.IsNaN(s) || s <= 0 {
		return 0
	}
	return time.Duration(min(s, connectors.MaxRetryAfter.Seconds()) * float64(time.Second))
}

// code returns a plugin's code as one short word.
func (c *Connector) code(text string) string {
	return strings.Join(strings.Fields(c.env.Scrubber().Excerpt([]byte(text), maxCode, false)), "_")
}

// message returns what a plugin says of a failure, in one line.
func (c *Connector) message(text string) string {
	line := strings.Join(strings.Fields(c.env.Scrubber().Excerpt([]byte(text), maxMessage, false)), " ")
	if line == "" {
		return "the plugin does not say why"
	}
	return line
}

// ErrorOf returns the error of an answer, nil if it is none.
func (c *Connector) ErrorOf(a *Answer) error {
	if a.Error == nil {
		return nil
	}
	class, err := parseClass(a.Error.Class)
	switch {
	case err != nil:
		return Violation("%w", err)
	case class == connectors.OK:
		return Violation("it answered with an error of class %q", a.Error.Class)
	}
	e := &connectors.Error{Class: class, Code: c.code(a.Error.Code), Err: errors.New(c.message(a.Error.Message))}
	if e.Code == "" {
		e.Code = "plugin"
	}
	return e
}

// failAll returns the result of an error for each of n attempts.
func failAll(n int, err error) []connectors.Result {
	r := connectors.Failed(connectors.Transient, "plugin", err)
	var e *connectors.Error
	var d *delayed
	switch {
	case errors.As(err, &e):
		r = connectors.Failed(e.Class, e.Code, e.Err)
	case errors.Is(err, context.DeadlineExceeded):
		r = connectors.Failed(connectors.Transient, "timeout", errors.New("the plugin gave no answer in time"))
	case errors.Is(err, context.Canceled):
		r = connectors.Failed(connectors.Transient, "canceled", errors.New("the call was cancelled"))
	}
	if errors.As(err, &d) {
		r.RetryAfter = d.wait
	}
	out := make([]connectors.Result, n)
	for i := range out {
		out[i] = r
	}
	return out
}

// Delayed returns an error that says how long it stays.
func Delayed(err error, wait time.Duration) error { return &delayed{err, wait} }

// A delayed error says how long it stays.
type delayed struct {
	error
	wait time.Duration
}

func (d *delayed) Unwrap() error { return d.error }

// heldOf returns what an answer says that the target holds.
func heldOf(h *held) (connectors.Held, error) {
	if h == nil {
		return connectors.Held{}, nil
	}
	out := connectors.Held{Tag: versioning.Tag{Version: h.Version, Digest: h.Digest}, Op: h.Op}
	switch {
	case h.Version.IsZero():
		return out, Violation("what is held has no version; a key that is not there is null")
	case h.Op == "":
		out.Op = events.Upsert
	case h.Op != events.Upsert && h.Op != events.Delete:
		return out, Violation("the op of what is held is neither upsert nor delete")
	}
	return out, nil
}
