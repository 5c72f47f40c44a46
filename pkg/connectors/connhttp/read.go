package connhttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Read is Config.Read.
type Read struct {
	// URL answers GET with what the target holds of the key that stands for {key} in
	// its path or query: 404 or 410 if nothing, else 2xx with the version in
	// ce-entityversion and, if the target keeps them, ce-entitydigest and ce-op.
	URL connectors.Ref `yaml:"url" json:"url,omitempty" required:"true" format:"url-template" example:"https://target.example/appointments/{key}" doc:"Answers GET about the key that stands for {key} in its path or query: 404 or 410 if the target holds nothing of it, else 2xx with the version in the header ce-entityversion and, if the target keeps them, ce-entitydigest and ce-op."`
	// Version is a jq expression that takes the JSON body of a 2xx answer and gives
	// the version, for targets that do not send the header.
	Version string `yaml:"version" json:"version,omitempty" format:"jq" example:".version" doc:"Takes the JSON body of a 2xx answer and gives the version, for targets that do not send the header."`
	// Digest is a jq expression that takes the JSON body of a 2xx answer and gives the
	// digest, for targets that keep it and do not send the header.
	Digest string `yaml:"digest" json:"digest,omitempty" format:"jq" example:".digest" doc:"Takes the JSON body of a 2xx answer and gives the digest, for targets that keep it and do not send the header."`
	// Remember gives values that the next request wants, by expressions over
	// {status, headers, body, text}, as Answer.Remember. They are used where the target
	// refuses the ones that are known.
	Remember map[string]string `yaml:"remember" json:"remember,omitempty" format:"jq" example:"{etag: .headers.etag}" doc:"The values that the next request wants, by expressions over {status, headers, body, text}, where the target refuses those that are known."`
}

func (r Read) check(p *connectors.Problems) {
	for field, text := range map[string]string{"read.version": r.Version, "read.digest": r.Digest} {
		if _, err := compileRule(text); err != nil {
			p.Add(field, "%v", err)
		}
	}
	compileMemories("read.remember", r.Remember, p)
	if r.URL == "" {
		return
	}
	if err := connkit.CheckURL(r.URL); err != nil {
		p.Add("read.url", "%v", err)
	} else if _, err := parseReadURL(connkit.Sample(r.URL)); err != nil {
		p.Add("read.url", "%v", err)
	}
}

func parseReadURL(text string) (template, error) {
	t, err := parseTemplate(text)
	if err != nil {
		return t, err
	}
	key := false
	for _, part := range append(t.path, t.query...) {
		switch part.placeholder {
		case keyPlaceholder:
			key = true
		case "":
		default:
			return t, fmt.Errorf("%s means nothing here", part.placeholder)
		}
	}
	if !key {
		return t, errors.New("it must have {key} in its path or query")
	}
	return t, nil
}

// Read asks for each key, as many at once as the channel's concurrency allows. It
// fails with the first key that the target gives no clear answer about.
func (c *connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	if c.readFrom == nil {
		return nil, connectors.ErrUnable
	}
	out := make([]connectors.Held, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, c.concurrency))
	for i, key := range keys {
		group.Go(func() (err error) {
			out[i], err = c.readOne(ctx, key)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

func (c *connector) readOne(ctx context.Context, key string) (connectors.Held, error) {
	_, held, err := c.ask(ctx, key)
	return held, err
}

// ask asks for a key. The reply is nil if the target holds nothing of it.
func (c *connector) ask(parent context.Context, key string) (*reply, connectors.Held, error) {
	ctx, cancel := c.bounded(parent)
	defer cancel()
	to, err := c.readFrom.expand(key, "", nil)
	if err != nil {
		return nil, connectors.Held{}, asError(connectors.Failed(connectors.Permanent, "request", err))
	}
	got, err := c.fetch(parent, ctx, to, nil)
	if err != nil {
		return nil, connectors.Held{}, err
	}
	switch {
	case got.status == http.StatusNotFound || got.status == http.StatusGone:
		return nil, connectors.Held{}, nil
	case got.status/100 == 2:
		held, err := c.heldBy(ctx, to.Host, got)
		return got, held, err
	default:
		class := classOf(got.status, "", httpkit.RetryAfter(got.header, c.now()) > 0)
		return nil, connectors.Held{}, statusError(class, to.Host, got.status)
	}
}

// Fetch shows the body of the answer beside the payload.
func (c *connector) Fetch(ctx context.Context, a connectors.Attempt) (connectors.Fetched, error) {
	if c.readFrom == nil {
		return connectors.Fetched{}, connectors.ErrUnable
	}
	got, held, err := c.ask(ctx, a.Key)
	if err != nil {
		return connectors.Fetched{}, err
	}
	out := connectors.Fetched{Held: held, There: got != nil}
	var theirs []byte
	if got != nil && len(got.body) > 0 {
		theirs = got.body
	}
	if got != nil && got.cut {
		return out, asError(connectors.Failed(connectors.Permanent, "read", errCut))
	}
	out.Parts = []connectors.Part{connectors.ContentPart(a.Payload, theirs, false)}
	return out, nil
}

// heldBy reads a 2xx answer. One that does not say clearly what the target holds is
// an error: a guess would be reported as a difference, or hide one.
func (c *connector) heldBy(ctx context.Context, host string, got *reply) (held connectors.Held, err error) {
	h := got.header
	unclear := func(what string) (connectors.Held, error) {
		return connectors.Held{}, asError(connectors.Failed(connectors.Permanent, "read",
			fmt.Errorf("GET %s: %s", host, what)))
	}
	body, _ := document(got.body) // null if it is none
	if text := h.Get(events.HeaderVersion); text != "" {
		if held.Version, err = versioning.Parse(text); err != nil {
			return unclear("the answer's " + events.HeaderVersion + " is not a version")
		}
	} else if c.readVersion == nil {
		return unclear("the answer has no " + events.HeaderVersion + "; set read.version if the version is in its body")
	} else if held.Version = c.readVersion.version(ctx, body); held.Version.IsZero() {
		return unclear(fmt.Sprintf("read.version finds no version in the first %d KiB of the answer", c.mostRead>>10))
	}
	if err := held.Digest.UnmarshalText([]byte(h.Get(HeaderDigest))); err != nil {
		return unclear("the answer's " + HeaderDigest + " is not a digest")
	}
	if c.readDigest != nil && held.Digest.IsZero() {
		held.Digest = digestOf(c.readDigest.text(ctx, body))
	}
	switch held.Op = events.Op(h.Get(events.HeaderOp)); held.Op {
	case "":
		held.Op = events.Upsert
	case events.Upsert, events.Delete:
	default:
		return unclear("the answer's " + events.HeaderOp + " is neither upsert nor delete")
	}
	return held, nil
}

// fetch makes a GET request and returns the answer, whatever its status is. parent
// is what ctx was bounded from, header what is sent besides.
func (c *connector) fetch(parent, ctx context.Context, to *url.URL, header []headerField) (*reply, error) {
	name := http.MethodGet + " " + to.Host
	u := *to
	if c.query != "" {
		u.RawQuery = joinQuery(u.RawQuery, c.query)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil { // the cause repeats the URL
		return nil, asError(connectors.Failed(connectors.Misconfigured, "config", fmt.Errorf("no request can be made for %s", to.Host)))
	}
	req.Header = c.header(header)
	token, fresh, err := c.authorize(ctx, req)
	if err != nil {
		return nil, asError(c.tokenFailed(parent, ctx, err))
	}
	answer, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, asError(c.failed(parent, ctx, name, err))
	}
	defer func() { _ = answer.Body.Close() }() // only read from
	r := readReply(answer, c.mostRead)
	if err := cmp.Or(r.broken, r.unreadable); err != nil {
		return nil, asError(c.failed(parent, ctx, name, err))
	}
	if answer.StatusCode == http.StatusUnauthorized && c.tokens != nil {
		c.tokens.drop(token)
		if !fresh { // it may have been withdrawn before its time; a new one decides
			return nil, statusError(connectors.Transient, to.Host, answer.StatusCode)
		}
	}
	return r, nil
}

func statusError(class connectors.Class, host string, status int) error {
	return asError(connectors.Failed(class, strconv.Itoa(status), fmt.Errorf("GET %s answered %d %s", host, status, http.StatusText(status))))
}

func asError(res connectors.Result) error {
	return &connectors.Error{Class: res.Class, Code: res.Code, Err: res.Err}
}
