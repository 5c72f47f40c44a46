package channels

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Purge deletes a channel and removes at once, for good, all that belongs to it: updates,
// ledger, parked updates and dead letters. What the target holds stays there. Workers hand
// its partitions over first, so that none of them writes for a channel that is no more;
// ErrNotDrained says that this took longer than half a minute, and that the channel is as it
// was. A channel that was deleted before can be purged, too. expect is the entry's
// revision, or the error wraps ErrRevision.
func (r *Registry) Purge(ctx context.Context, name string, expect uint64) error {
	e, err := r.Get(ctx, name)
	if err != nil {
		return err
	}
	if e.Revision != expect {
		return fmt.Errorf("%w: %s is at revision %d, not %d", ErrRevision, name, e.Revision, expect)
	}
	if e.Deleted.IsZero() {
		if e, err = r.drain(ctx, e); err != nil {
			return err
		}
	} else if _, err := r.closeGeneration(ctx, e); err != nil {
		return errors.Join(err, r.reopen(context.WithoutCancel(ctx), e)) // it can still be restored
	}
	e.Sweeping = time.Time{} // whoever was at it, this is to be done now
	removed, err := r.remove(ctx, e, time.Now())
	if err == nil && !removed {
		err = fmt.Errorf("%w: somebody else has changed channel %s meanwhile", ErrRevision, name)
	}
	return err
}

// drain has a channel's partitions handed over and closed, and deletes it.
func (r *Registry) drain(ctx context.Context, e Entry) (Entry, error) {
	gated := e
	if !e.Gated {
		next := e.stored()
		next.Gated = true
		var err error
		if gated, err = r.store(ctx, next, e.Revision); err != nil {
			return Entry{}, err
		}
	}
	if _, err := r.closeGeneration(ctx, e); err != nil {
		return Entry{}, errors.Join(err, r.giveUp(context.WithoutCancel(ctx), e, gated.Revision))
	}
	next := gated.stored()
	next.Deleted = time.Now().UTC().Truncate(time.Second)
	return r.store(ctx, next, gated.Revision)
}
