package channels

import (
	"context"
	"errors"

	"github.com/hms-utl/extsync/pkg/events"
)

// ErrRefs says that the owner of a key did not set what is remembered of it.
var ErrRefs = errors.New("what is remembered of the key was not changed")

// SetRefs has the owner of a key's partition put refs in the place of all that is remembered
// of the key; nil forgets it. The next attempt gets them. The errors: events.ErrRefs,
// ErrNotFound, ErrDeleted, ErrNoOwner, ErrRefs (an attempt is under way: ask again), or that
// of the request, after which they may have been set.
func (r *Registry) SetRefs(ctx context.Context, channel, key string, refs events.Refs) error {
	enc, err := events.EncodeKey(key)
	if err == nil {
		err = refs.Check()
	}
	if err != nil {
		return err
	}
	_, err = r.ask(ctx, channel, enc, ControlRequest{Op: ControlRefs, Key: key, Refs: refs}, ErrRefs, "key")
	return err
}
