package connkit

import (
	"context"
	"errors"
	"fmt"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A State is what a target holds of a key, as far as a conditional write has to know.
type State struct {
	connectors.Held
	// Mark is what the condition of the next write names, such as an ETag. It is another one
	// after each change, and "" where nothing is held.
	Mark string
	// Foreign says why what is there is none of the platform's, "" if it is, or if nothing is
	// there.
	Foreign string
}

// A Conditional writes an update to a target that takes writes under a condition: it reads,
// compares versions, writes under the condition that nothing has changed, and begins anew
// if something has. S is what the target's own code knows of what is there.
type Conditional[S any] struct {
	// Target names the target in errors, as in "the calendar".
	Target string
	// Adopt lets an update replace what is none of the platform's.
	Adopt bool
	// Look reads what is there. The result says why it cannot, nil if it could.
	Look func(ctx context.Context) (State, S, *connectors.Result)
	// Put writes under the condition that what Look read is still there. changed says that it
	// was not, and that nothing was written; the result, nil after a write, is then the one
	// that counts if what is there has not changed after all.
	Put func(ctx context.Context, there S) (changed bool, res *connectors.Result)
}

// Apply makes one attempt. When somebody else writes the key it reads and writes again: what
// is there is newer each time, so there is an end.
func (c Conditional[S]) Apply(ctx context.Context, a *connectors.Attempt) connectors.Result {
	for mark, tried := "", false; ; tried = true {
		there, own, res := c.Look(ctx)
		if res != nil {
			return *res
		}
		if done := c.judge(&there, a); done != nil {
			return *done
		}
		changed, res := c.Put(ctx, own)
		if res == nil {
			return connectors.Done()
		}
		if !changed || tried && there.Mark == mark { // else it would go on for ever
			return *res
		}
		mark = there.Mark
	}
}

// judge says what becomes of an attempt without a write, nil if it is to be written.
func (c Conditional[S]) judge(there *State, a *connectors.Attempt) *connectors.Result {
	if there.Foreign != "" {
		if c.Adopt {
			return nil
		}
		res := connectors.Failed(connectors.Conflict, "foreign", fmt.Errorf("%s has something that the platform did not write: %s; set adopt to write over it", c.Target, there.Foreign))
		return &res
	}
	verdict, err := versioning.Guard(there.Tag, versioning.Tag{Version: a.Version, Digest: a.Digest}, versioning.Version{})
	res := connectors.Result{Held: there.Tag}
	switch {
	case err != nil:
		res.Class, res.Code, res.Err = connectors.Conflict, "version-kind", fmt.Errorf("%s holds a version of another kind: %w", c.Target, err)
	case verdict == versioning.Stale:
		res.Class, res.Code, res.Err = connectors.Stale, "stale", errors.New(c.Target+" holds a newer version")
	case verdict == versioning.Conflict:
		res.Class, res.Code, res.Err = connectors.Conflict, "conflict", errors.New(c.Target+" holds this version with another content")
	case verdict == versioning.Duplicate && !a.Again:
		res = connectors.Done()
	default:
		return nil
	}
	return &res
}
