package conns3

import (
	"context"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Apply writes each attempt and says what came of it.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	return connkit.OneByOne(ctx, attempts, c.apply)
}

func (c *connector) apply(parent context.Context, a *connectors.Attempt) connectors.Result {
	o, err := c.object(a)
	if err != nil {
		return connectors.Unasked("payload", err)
	}
	ctx, cancel := c.client.bounded(parent)
	defer cancel()
	return connkit.Conditional[state]{
		Target: "the store", Adopt: c.Adopt,
		Look: func(ctx context.Context) (connkit.State, state, *connectors.Result) {
			there, res := c.client.head(ctx, o.name)
			return there.State, there, res
		},
		Put: func(ctx context.Context, there state) (bool, *connectors.Result) {
			return c.client.put(ctx, o, &there)
		},
	}.Apply(ctx, a)
}
