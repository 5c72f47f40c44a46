package connkit

import (
	"context"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// OneByOne is the Apply of a connector that writes one update at a time: it calls one for
// each attempt, in order. Attempts whose turn comes after ctx has ended are not begun, and
// are Transient.
func OneByOne(ctx context.Context, attempts []connectors.Attempt, one func(context.Context, *connectors.Attempt) connectors.Result) []connectors.Result {
	results := make([]connectors.Result, len(attempts))
	for i := range attempts {
		if err := ctx.Err(); err != nil {
			results[i] = connectors.Failed(connectors.Transient, "canceled", err)
			continue
		}
		results[i] = one(ctx, &attempts[i])
	}
	return results
}
