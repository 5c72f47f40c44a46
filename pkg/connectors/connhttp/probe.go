package connhttp

import (
	"context"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// ask asks the probe URL. Only a 2xx answer is well.
func (c *connector) ask(parent context.Context) error {
	ctx, cancel := c.bounded(parent)
	defer cancel()
	answer, _, err := c.fetch(parent, ctx, c.probe.url)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 == 2 {
		return nil
	}
	class := connectors.Transient
	if c.standard.classify(answer.StatusCode, "", false) == connectors.Misconfigured {
		class = connectors.Misconfigured
	}
	return statusError(class, c.probe.host, answer.StatusCode)
}
