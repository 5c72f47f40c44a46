package connhttp

import (
	"context"
	"io"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// Preview returns the request that Apply would make. It is made from the
// configuration with "***" for every reference, so no secret is in it; a signature
// and a token are shown the same way.
func (c *connector) Preview(ctx context.Context, a connectors.Attempt) (connectors.Preview, error) {
	o, err := resolve(c.Config, c.env.ForPreview(connectors.Hidden))
	if err != nil {
		return connectors.Preview{}, err
	}
	shown := *c
	shown.opened = o
	to := shown.routeFor(&a)
	a.Refs = to.standIns().With(a.Refs)
	req, err := shown.request(ctx, &a, to)
	if err != nil {
		return connectors.Preview{}, &connectors.Error{Class: connectors.Permanent, Code: "request", Err: err}
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return connectors.Preview{}, err
	}
	p := connectors.Preview{Method: req.Method, URL: req.URL.String(), Headers: map[string]string{}, Body: body}
	if (c.Auth.Basic != httpkit.Basic{}) {
		req.Header.Set("Authorization", "Basic "+connectors.Hidden)
	}
	if c.tokens != nil {
		req.Header.Set("Authorization", "Bearer "+connectors.Hidden)
	}
	if len(c.signers) > 0 {
		for _, name := range []string{headerWebhookID, headerWebhookTimestamp, headerWebhookSignature} {
			req.Header.Set(name, connectors.Hidden)
		}
	}
	for name, values := range req.Header {
		p.Headers[name] = strings.Join(values, ", ")
	}
	return p, nil
}
