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

// judge turns an answer into a result. token is the OAuth2 token that was sent,
// "" if there was none.
func (c *connector) judge(ctx context.Context, a *connectors.Attempt, answer *http.Response, token string) connectors.Result {
	// The status has come, so an answer that breaks off afterwards keeps it.
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
	res.Response = c.excerpt(body, token, most)
	switch res.Class {
	case connectors.OK:
		c.checkAck(ctx, &res, status, body, readErr)
	case connectors.Conflict:
		c.compare(ctx, &res, a, answer.Header, body)
	case connectors.Transient, connectors.Throttled:
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
	case status/100 == 3:
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
	err := c.ack.holds(ctx, body)
	switch {
	case errors.Is(readErr, errEncoding):
		res.Class, res.Err = c.ackOtherwise, fmt.Errorf("ack rule: %w", readErr)
	case readErr != nil:
		res.Class, res.Err = connectors.Transient, errors.New("the answer broke off before the ack rule could be applied")
	case err != nil:
		res.Class, res.Err = c.ackOtherwise, fmt.Errorf("ack rule: %w", err)
	default:
		return
	}
	res.Code = "ack_rule"
}

// compare looks at what the target says it holds: a newer version makes the
// update stale, this very version with this very content makes it delivered
// (guarantee 2). Whatever cannot be shown to be either stays a conflict.
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
