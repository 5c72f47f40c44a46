package connhttp

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// judge turns the answer to a request into a result. parent is what ctx was bounded from.
func (c *connector) judge(parent, ctx context.Context, a *connectors.Attempt, to *route, r *reply) connectors.Result {
	wait := httpkit.RetryAfter(r.header, c.now())
	res := connectors.Result{Class: classOf(r.status, a.Op, wait > 0), Code: strconv.Itoa(r.status)}
	if r.broken != nil && c.says(res.Class) {
		return c.cutOff(parent, ctx, to, r)
	}
	var v verdict
	if r.broken == nil {
		v = c.decide(ctx, a, r)
		r.by = v.by
	}
	switch {
	case v.open != nil && c.says(res.Class):
		res.Class, res.Code, res.Err = connectors.Transient, codeUnread, fmt.Errorf("%s answered %d: %w", to.name(), r.status, v.open)
	case v.by != nil:
		c.rule(ctx, &res, a, r, &v)
	case res.Class == connectors.Conflict || r.status == http.StatusConflict && res.Class == connectors.Unready:
		c.compare(&res, a, heldBy(r.header))
	}
	res.RuleErrors = len(v.failed)
	if waiting(res.Class) && res.RetryAfter == 0 {
		res.RetryAfter = wait
	}
	res.Response = c.excerpt(r, res.Class)
	if res.Class != connectors.OK && res.Err == nil {
		res.Err = fmt.Errorf("%s answered %d %s%s%s", to.name(), r.status, http.StatusText(r.status), hint(r.status, res), v.String())
	}
	return res
}

// says reports whether an answer of this class needs all of it: half an answer does not
// say that the target has the update, nor what it holds instead, nor why it is refused for
// good. That it failed is said by the status alone.
func (c *connector) says(class connectors.Class) bool {
	switch class {
	case connectors.OK, connectors.Conflict, connectors.Unready, connectors.Permanent:
		return true
	default:
		return false
	}
}

// cutOff is the result of half an answer.
func (c *connector) cutOff(parent, ctx context.Context, to *route, r *reply) connectors.Result {
	res := c.failed(parent, ctx, fmt.Sprintf("%s answered %d, but the answer broke off", to.name(), r.status), r.broken)
	res.Class, res.Response = connectors.Transient, c.excerpt(r, connectors.Transient)
	return res
}

// excerpt returns what is kept of an answer.
func (c *connector) excerpt(r *reply, class connectors.Class) string {
	most := connectors.MaxResponse
	if class == connectors.OK {
		most = events.MaxResponseLen // the rest would not be kept
	}
	return c.scrubber.Excerpt(r.body, most, r.cut)
}

// hint explains what is easily misunderstood.
func hint(status int, res connectors.Result) string {
	switch {
	case status/100 == 3 && status != http.StatusNotModified:
		return "; redirects are not followed"
	case res.Class == connectors.Stale:
		return "; it holds the newer version " + res.Held.Version.String()
	default:
		return ""
	}
}

// rule applies the rule that matches.
func (c *connector) rule(ctx context.Context, res *connectors.Result, a *connectors.Attempt, r *reply, v *verdict) {
	by := v.by
	res.Class = by.class
	if by.compares {
		held := heldBy(r.header)
		if by.version != nil {
			held.Version = by.version.version(ctx, v.input)
		}
		if by.digest != nil {
			held.Digest = digestOf(by.digest.text(ctx, v.input))
		}
		c.compare(res, a, held)
	}
	if res.Class == connectors.OK {
		res.Remember = c.memorize(ctx, by.remember, v.input)
	}
	res.RetryAfter = by.wait
	if by.waits != nil {
		if value, err := by.waits.eval(ctx, v.input); err == nil {
			res.RetryAfter = waitOf(value, c.now())
		}
	}
}

// heldBy returns what the headers of an answer say that the target holds.
func heldBy(h http.Header) (held versioning.Tag) {
	if text := h.Get(events.HeaderVersion); text != "" {
		held.Version, _ = versioning.Parse(text) // zero if it cannot be read
	}
	held.Digest = digestOf(h.Get(HeaderDigest))
	return held
}

// digestOf returns the digest in a text, zero if it holds none.
func digestOf(text string) (d versioning.Digest) {
	if d.UnmarshalText([]byte(text)) != nil {
		return versioning.Digest{}
	}
	return d
}

// compare looks at what the target says it holds: a newer version makes the
// update stale, this very version with this very content makes it delivered
// (guarantee 2), anything else that can be compared a conflict. Where nothing is shown
// the class stays.
func (c *connector) compare(res *connectors.Result, a *connectors.Attempt, held versioning.Tag) {
	if held.IsZero() {
		return
	}
	verdict, err := versioning.Guard(held, versioning.Tag{Version: a.Version, Digest: a.Digest}, versioning.Version{})
	if err != nil {
		return // a number was compared with a time
	}
	res.Held = held
	switch verdict {
	case versioning.Stale:
		res.Class = connectors.Stale
	case versioning.Duplicate:
		res.Class, res.Held = connectors.OK, versioning.Tag{}
	default:
		res.Class = connectors.Conflict
	}
}
