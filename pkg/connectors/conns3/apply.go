package conns3

import (
	"context"
	"errors"
	"fmt"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Apply writes each attempt.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	return connkit.OneByOne(ctx, attempts, c.apply)
}

// apply reads, decides and writes under the condition that nothing has changed. If it has,
// somebody else writes this key, and it begins anew: each time the store holds something
// newer, so there is an end.
func (c *connector) apply(ctx context.Context, a *connectors.Attempt) connectors.Result {
	o, err := c.object(a)
	if err != nil {
		return connectors.Unasked("payload", err)
	}
	next := versioning.Tag{Version: a.Version, Digest: a.Digest}
	for read, tried := "", false; ; tried = true {
		there, res := c.client.head(ctx, o.name)
		if res != nil {
			return *res
		}
		if done := c.judge(&there, next, a.Again); done != nil {
			return *done
		}
		changed, res := c.client.put(ctx, o, &there)
		if res == nil {
			return connectors.Done()
		}
		if !changed || tried && there.etag == read { // else it would go on for ever
			return *res
		}
		read = there.etag
	}
}

// judge says what becomes of an update without a write, nil if it is to be written.
func (c *connector) judge(there *state, next versioning.Tag, again bool) *connectors.Result {
	if there.foreign != "" {
		if c.Adopt {
			return nil
		}
		return failed(connectors.Conflict, "foreign", fmt.Errorf("there is an object that the platform did not write: %s; set adopt to write over it", there.foreign))
	}
	verdict, err := versioning.Guard(there.Tag, next, versioning.Version{})
	res := connectors.Result{Held: there.Tag}
	switch {
	case err != nil:
		res.Class, res.Code, res.Err = connectors.Conflict, "version-kind", fmt.Errorf("the store holds a version of another kind: %w", err)
	case verdict == versioning.Stale:
		res.Class, res.Code, res.Err = connectors.Stale, "stale", errors.New("the store holds a newer version")
	case verdict == versioning.Conflict:
		res.Class, res.Code, res.Err = connectors.Conflict, "conflict", errors.New("the store holds this version with another content")
	case verdict == versioning.Duplicate && !again:
		res = connectors.Done()
	default:
		return nil
	}
	return &res
}
