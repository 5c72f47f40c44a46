package connhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// answers gives the answers of a transport, each with a body that ends no later
// than the context of its request.
type answers struct{ *http.Transport }

// RoundTrip is that of the transport. 101 is the only informational status that the
// transport gives as an answer. The connection behind it is no longer HTTP: the
// transport leaves it to us, heeds the request's context no more, and the other side
// can keep it open without a word for ever. Nobody asked for it, so it is closed.
func (t answers) RoundTrip(req *http.Request) (*http.Response, error) {
	answer, err := t.Transport.RoundTrip(req)
	if err == nil && answer.StatusCode == http.StatusSwitchingProtocols {
		_ = answer.Body.Close() // nothing is written to it
		answer.Body = http.NoBody
	}
	return answer, err
}

// judge turns an answer into a result. parent is what ctx was bounded from.
func (c *connector) judge(parent, ctx context.Context, a *connectors.Attempt, answer *http.Response) connectors.Result {
	body, readErr := readBody(answer)
	status := answer.StatusCode
	wait := retryAfter(answer.Header, c.now())
	res := connectors.Result{
		Class: c.table.classify(status, a.Op, wait > 0),
		Code:  strconv.Itoa(status),
	}
	most := connectors.MaxResponse
	if res.Class == connectors.OK {
		most = events.MaxResponseLen // the rest would not be kept
	}
	res.Response = c.scrubber.Excerpt(body, most, len(body) == maxBody)
	// Half an answer does not say that the target has the update, nor what it holds
	// instead. That it failed is said by the status alone.
	says := res.Class == connectors.OK || res.Class == connectors.Conflict || res.Class == connectors.Unready
	if readErr != nil && !errors.Is(readErr, errEncoding) && says {
		cut := c.failed(parent, ctx, fmt.Sprintf("%s answered %d, but the answer broke off", c.name(a), status), readErr)
		cut.Class, cut.Response = connectors.Transient, res.Response
		return cut
	}
	switch res.Class {
	case connectors.OK:
		c.checkAck(ctx, &res, status, body, readErr)
	case connectors.Conflict:
		c.compare(ctx, &res, a, answer.Header, body)
	case connectors.Unready:
		if status == http.StatusConflict {
			c.compare(ctx, &res, a, answer.Header, body)
		}
	}
	switch res.Class {
	case connectors.Transient, connectors.Throttled, connectors.Misconfigured, connectors.Unready:
		res.RetryAfter = wait
	}
	if res.Class != connectors.OK && res.Err == nil {
		res.Err = fmt.Errorf("%s answered %d %s%s", c.name(a), status, http.StatusText(status), hint(status, res))
	}
	return res
}

// hint explains what is easily misunderstood.
func hint(status int, res connectors.Result) string {
	switch {
	case status/100 == 3 && status != http.StatusNotModified:
		return "; redirects are not followed"
	case res.Class == connectors.Stale:
		return "; it holds the newer version " + res.Held.Version.String()
	case status == http.StatusGone && res.Class == connectors.Misconfigured:
		return "; on_gone pauses the channel"
	default:
		return ""
	}
}

// checkAck applies the ack rule to a 2xx answer. Other statuses that count as
// success say what they have to say by themselves.
func (c *connector) checkAck(ctx context.Context, res *connectors.Result, status int, body []byte, readErr error) {
	if c.ack == nil || status/100 != 2 {
		return
	}
	err := readErr // that it cannot be decoded: others have returned
	if err == nil {
		err = c.ack.holds(ctx, body)
	}
	if err != nil {
		res.Class, res.Code, res.Err = c.ackOtherwise, "ack_rule", fmt.Errorf("ack rule: %w", err)
	}
}

// compare looks at what the target says it holds: a newer version makes the
// update stale, this very version with this very content makes it delivered
// (guarantee 2), anything else that can be compared a conflict. Where nothing is shown
// the status alone decides.
func (c *connector) compare(ctx context.Context, res *connectors.Result, a *connectors.Attempt, h http.Header, body []byte) {
	held := versioning.Tag{Version: c.heldVersion(ctx, h, body)}
	if held.IsZero() {
		return
	}
	_ = held.Digest.UnmarshalText([]byte(h.Get(HeaderDigest))) // stays unknown if it cannot be read
	verdict, err := versioning.Guard(held, versioning.Tag{Version: a.Version, Digest: a.Digest}, versioning.Version{})
	if err != nil {
		return // a number was compared with a time
	}
	res.Held = held
	switch verdict {
	case versioning.Stale:
		res.Class = connectors.Stale
	case versioning.Duplicate:
		*res = connectors.Result{Class: connectors.OK, Code: res.Code, Response: res.Response}
	default:
		res.Class = connectors.Conflict
	}
}

func (c *connector) heldVersion(ctx context.Context, h http.Header, body []byte) versioning.Version {
	if text := h.Get(events.HeaderVersion); text != "" {
		if v, err := versioning.Parse(text); err == nil {
			return v
		}
	}
	if c.held == nil {
		return versioning.Version{}
	}
	return c.held.version(ctx, body)
}
