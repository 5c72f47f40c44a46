package connhttp

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// request returns the request of one attempt, but for an OAuth2 token.
func (c *connector) request(ctx context.Context, a *connectors.Attempt, r *route) (*http.Request, error) {
	t := textsOf(a)
	to, err := r.to.expand(a.Key, t.version, a.Refs)
	if err != nil {
		return nil, err
	}
	body, content, err := c.content(a, &t)
	if err != nil {
		return nil, err
	}
	if c.query != "" {
		keyed := *to // to may be shared
		keyed.RawQuery = joinQuery(to.RawQuery, c.query)
		to = &keyed
	}
	// The template has been parsed; http.NewRequest would parse the URL again.
	req := (&http.Request{
		Method: r.method, URL: to, Host: to.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: http.NoBody, ContentLength: int64(len(body)),
	}).WithContext(ctx)
	var list [maxFields]headerField
	fields := list[:0]
	if len(body) > 0 {
		// net/http sends the header and a body of these types in one piece.
		req.Body = io.NopCloser(bytes.NewReader(body))
		// For a connection that the target closes just before anything is written.
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		fields = append(fields, headerField{sentContentType, content})
	}
	now := c.now()
	id := repetitionID(a, now)
	if r.purpose != "" {
		id += r.purpose
	}
	fields = appendContext(appendEvent(fields, a, &t), a, id)
	if fields, err = r.appendHeaders(fields, a.Refs); err != nil {
		return nil, err
	}
	req.Header = c.header(fields)
	sign(req.Header, c.signers, id, now, body)
	return req, nil
}

// content returns what an update is written as, and its media type.
func (c *connector) content(a *connectors.Attempt, t *texts) (body []byte, media string, err error) {
	if c.Body != bodyEvent {
		return a.Payload, a.ContentType, nil
	}
	body, err = structured(a, t)
	return body, structuredContent, err
}

// header returns the configuration's headers, whose values are shared, with the
// fields of one request.
func (c *connector) header(fields []headerField) http.Header {
	h := make(http.Header, len(c.headers)+len(fields))
	for name, values := range c.headers {
		h[name] = values
	}
	values := make([]string, len(fields))
	for i, f := range fields {
		values[i] = f.value
		h[f.name] = values[i : i+1 : i+1]
	}
	return h
}

func joinQuery(a, b string) string {
	if a == "" {
		return b
	}
	return a + "&" + b
}
