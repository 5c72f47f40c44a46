package conns3

import (
	"context"
	"net/http"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Preview returns the request that would be made if there were no object of the key. It is
// not signed.
func (c *connector) Preview(ctx context.Context, a connectors.Attempt) (connectors.Preview, error) {
	o, err := c.object(&a)
	if err != nil {
		return connectors.Preview{}, &connectors.Error{Class: connectors.Permanent, Code: "payload", Err: err}
	}
	condition(o.header, &state{})
	req, err := c.client.request(ctx, http.MethodPut, o.name, nil, o.header, o.body)
	if err != nil {
		return connectors.Preview{}, &connectors.Error{Class: connectors.Misconfigured, Code: "config", Err: err}
	}
	p := connectors.Preview{Method: req.Method, URL: req.URL.String(), Headers: map[string]string{"Authorization": connectors.Hidden}, Body: o.body}
	for name := range req.Header {
		p.Headers[name] = req.Header.Get(name)
	}
	return p, nil
}
