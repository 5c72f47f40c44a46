package conncaldav

import (
	"context"
	"net/http"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Probe asks whether the URL is that of a calendar.
func (c *connector) Probe(ctx context.Context) error {
	ctx, cancel := connkit.Bounded(ctx, c.timeout)
	defer cancel()
	if res := c.probe(ctx); res != nil {
		return asError(res)
	}
	return nil
}

// Read reads the object of each key, as many at once as the channel's concurrency allows.
func (c *connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	out := make([]connectors.Held, len(keys))
	var absent atomic.Bool
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(c.concurrency)
	for i, key := range keys {
		group.Go(func() error {
			ctx, cancel := connkit.Bounded(within, c.timeout)
			defer cancel()
			there, res := c.get(ctx, c.nameOf(key))
			if res != nil {
				return asError(res)
			}
			if there.Mark == "" {
				absent.Store(true)
			}
			out[i] = there.Held
			return nil
		})
	}
	err := group.Wait()
	if err == nil && absent.Load() {
		err = c.Probe(ctx) // where there is no calendar, there are no objects either
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Preview returns the request that would be made if there were no object of the key.
func (c *connector) Preview(ctx context.Context, a connectors.Attempt) (connectors.Preview, error) {
	d, err := c.draft(&a)
	if err != nil {
		return connectors.Preview{}, &connectors.Error{Class: connectors.Permanent, Code: "payload", Err: err}
	}
	body := d.after(&object{})
	req, err := c.request(ctx, http.MethodPut, c.nameOf(a.Key), body)
	if err != nil {
		return connectors.Preview{}, &connectors.Error{Class: connectors.Misconfigured, Code: "config", Err: err}
	}
	condition(req.Header, "")
	p := connectors.Preview{Method: req.Method, URL: req.URL.String(), Headers: map[string]string{}, Body: body}
	for name := range req.Header {
		p.Headers[name] = req.Header.Get(name)
	}
	if c.authorize != "" {
		p.Headers["Authorization"] = connectors.Hidden
	}
	return p, nil
}
