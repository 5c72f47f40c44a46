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
			there, res := c.look(ctx, o.name)
			return there.State, there, res
		},
		Put: func(ctx context.Context, there state) (bool, *connectors.Result) {
			return c.client.put(ctx, o, &there)
		},
	}.Apply(ctx, a)
}

// look returns what the store holds under a name: metadata that are no older than the
// ETag. A store that reads them one after the other answers HEAD with the metadata of one
// version and the ETag of the next if that is written meanwhile, as versitygw 1.8.0 does; a
// condition on that ETag would put what is between the two in the place of the newer one.
// So where they may be of two objects the metadata are read again, after the ETag.
func (c *connector) look(ctx context.Context, name string) (state, *connectors.Result) {
	first, res := c.client.head(ctx, name)
	if res != nil || !first.there() || first.whole() {
		return first, res
	}
	second, res := c.client.head(ctx, name)
	if res != nil || !second.there() || second.whole() {
		return second, res
	}
	second.Mark = first.Mark
	return second, nil
}
