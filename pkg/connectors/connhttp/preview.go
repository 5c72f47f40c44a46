package connhttp

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// hidden is what a preview shows in place of a secret.
const hidden = "***"

var _ connectors.Previewer = (*connector)(nil)

// Preview returns the request that Apply would make. It is made from the
// configuration with "***" for every reference, so no secret is in it; a signature
// and a token are shown the same way.
func (c *connector) Preview(ctx context.Context, a connectors.Attempt) (connectors.Preview, error) {
	shown := *c
	o := c.withoutSecrets()
	shown.opened = o
	req, err := shown.request(ctx, &a)
	if err != nil {
		return connectors.Preview{}, &connectors.Error{Class: connectors.Permanent, Code: "request", Err: err}
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return connectors.Preview{}, err
	}
	p := connectors.Preview{Method: req.Method, URL: req.URL.String(), Headers: map[string]string{}, Body: body}
	if req.URL.Host == unknownHost {
		p.URL = hidden
	}
	if c.tokens != nil {
		req.Header.Set("Authorization", "Bearer "+hidden)
	}
	if len(c.signers) > 0 {
		for _, name := range []string{headerWebhookID, headerWebhookTimestamp, headerWebhookSignature} {
			req.Header.Set(name, hidden)
		}
	}
	for name, values := range req.Header {
		p.Headers[name] = strings.Join(values, ", ")
	}
	return p, nil
}

// unknownHost stands for a URL that is a secret as a whole.
const unknownHost = "secret.invalid"

// withoutSecrets resolves the configuration with hidden for every reference.
func (c *connector) withoutSecrets() *opened {
	s := &secretReader{secrets: connectors.Secrets{
		LookupEnv: func(string) (string, bool) { return hidden, true },
		ReadFile:  func(string) ([]byte, error) { return []byte(hidden), nil },
	}}
	o := &opened{Config: c.Config, concurrency: c.concurrency, headers: http.Header{}}
	to := func(ref connectors.Ref) template {
		t, err := parseTemplate(s.text("", ref))
		if err != nil {
			t, _ = parseTemplate("https://" + unknownHost) // it is a URL
		}
		return t
	}
	o.upsert = route{method: c.upsert.method, to: to(c.URL)}
	o.remove = route{method: c.remove.method, to: to(c.Delete.URL)}
	o.resolveHeaders(s)
	o.resolveAuth(s)
	if c.Auth.APIKey.Query != "" {
		o.query = c.query[:strings.IndexByte(c.query, '=')+1] + hidden
	}
	if (c.Auth.Basic != Basic{}) {
		o.headers.Set("Authorization", "Basic "+hidden)
	}
	return o
}
