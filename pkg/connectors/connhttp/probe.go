package connhttp

import (
	"context"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// Probe asks the probe URL. Only a 2xx answer is well.
func (c *connector) Probe(parent context.Context) error {
	if c.probe == nil {
		return connectors.ErrUnable
	}
	ctx, cancel := c.bounded(parent)
	defer cancel()
	got, err := c.fetch(parent, ctx, c.probe.url, nil)
	if err != nil {
		return err
	}
	if got.status/100 == 2 {
		return nil
	}
	class := connectors.Transient
	if httpkit.ClassOf(got.status, false) == connectors.Misconfigured {
		class = connectors.Misconfigured
	}
	return statusError(class, c.probe.host, got.status)
}
