package connhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Read is Config.Read.
type Read struct {
	// URL answers GET with what the target holds of the key that stands for {key} in
	// its path or query: 404 or 410 if nothing, else 2xx with the version in
	// ce-entityversion and, if the target keeps them, ce-entitydigest and ce-op.
	URL connectors.Ref `yaml:"url" json:"url,omitempty"`
	// Version is a jq expression that takes the JSON body of a 2xx answer and gives
	// the version, for targets that do not send the header.
	Version string `yaml:"version" json:"version,omitempty"`
}

func (r Read) check(p *connectors.Problems) {
	if _, err := compileRule(r.Version); err != nil {
		p.Add("read.version", "%v", err)
	}
	if r.URL == "" {
		if r.Version != "" {
			p.Add("read.url", "it is missing")
		}
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
		case versionPlaceholder:
			return t, errors.New("{version} means nothing here")
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

func (c *connector) readOne(parent context.Context, key string) (connectors.Held, error) {
	ctx, cancel := c.bounded(parent)
	defer cancel()
	to, err := c.readFrom.expand(key, "")
	if err != nil {
		return connectors.Held{}, asError(connectors.Failed(connectors.Permanent, "request", err))
	}
	got, err := c.fetch(parent, ctx, to)
	if err != nil {
		return connectors.Held{}, err
	}
	switch {
	case got.status == http.StatusNotFound || got.status == http.StatusGone:
		return connectors.Held{}, nil
	case got.status/100 == 2:
		return c.heldBy(ctx, to.Host, got)
	default:
		class := c.standard.classify(got.status, "", retryAfter(got.header, c.now()) > 0)
		return connectors.Held{}, statusError(class, to.Host, got.status)
	}
}

// heldBy reads a 2xx answer. One that does not say clearly what the target holds is
// an error: a guess would be reported as a difference, or hide one.
func (c *connector) heldBy(ctx context.Context, host string, got fetched) (held connectors.Held, err error) {
	h := got.header
	unclear := func(what string) (connectors.Held, error) {
		return connectors.Held{}, asError(connectors.Failed(connectors.Permanent, "read",
			fmt.Errorf("GET %s: %s", host, what)))
	}
	switch text := h.Get(events.HeaderVersion); {
	case text != "":
		if held.Version, err = versioning.Parse(text); err != nil {
			return unclear("the answer's " + events.HeaderVersion + " is not a version")
		}
	case c.readVersion != nil:
		if held.Version = c.readVersion.version(ctx, got.body); held.Version.IsZero() {
			return unclear("read.version finds no version in the first 64 KiB of the answer")
		}
	default:
		return unclear("the answer has no " + events.HeaderVersion + "; set read.version if the version is in its body")
	}
	if err := held.Digest.UnmarshalText([]byte(h.Get(HeaderDigest))); err != nil {
		return unclear("the answer's " + HeaderDigest + " is not a digest")
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

// fetched is an answer that has been read.
type fetched struct {
	status int
	header http.Header
	body   []byte
}

// fetch makes a GET request and returns the answer, whatever its status is. parent
// is what ctx was bounded from.
func (c *connector) fetch(parent, ctx context.Context, to *url.URL) (fetched, error) {
	name := http.MethodGet + " " + to.Host
	u := *to
	if c.query != "" {
		u.RawQuery = joinQuery(u.RawQuery, c.query)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil { // the cause repeats the URL
		return fetched{}, asError(connectors.Failed(connectors.Misconfigured, "config", fmt.Errorf("no request can be made for %s", to.Host)))
	}
	req.Header = c.headers.Clone()
	token, fresh, err := c.authorize(ctx, req)
	if err != nil {
		return fetched{}, asError(c.tokenFailed(parent, ctx, err))
	}
	answer, err := c.transport.RoundTrip(req)
	if err != nil {
		return fetched{}, asError(c.failed(parent, ctx, name, err))
	}
	defer func() { _ = answer.Body.Close() }() // only read from
	body, err := readBody(answer)
	if err != nil {
		return fetched{}, asError(c.failed(parent, ctx, name, err))
	}
	if answer.StatusCode == http.StatusUnauthorized && c.tokens != nil {
		c.tokens.drop(token)
		if !fresh { // it may have been withdrawn before its time; a new one decides
			return fetched{}, statusError(connectors.Transient, to.Host, answer.StatusCode)
		}
	}
	return fetched{answer.StatusCode, answer.Header, body}, nil
}

func statusError(class connectors.Class, host string, status int) error {
	return asError(connectors.Failed(class, strconv.Itoa(status), fmt.Errorf("GET %s answered %d %s", host, status, http.StatusText(status))))
}

func asError(res connectors.Result) error {
	return &connectors.Error{Class: res.Class, Code: res.Code, Err: res.Err}
}
