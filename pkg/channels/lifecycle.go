package channels

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// DeletedRetention is how long a deleted channel can be restored.
const DeletedRetention = 7 * 24 * time.Hour

// ErrDeleted says that a channel was deleted and can still be restored.
var ErrDeleted = events.ErrChannelDeleted

// Pause holds a channel's deliveries back; its updates are kept. Resume lets them
// go on. Both may be repeated.
func (r *Registry) Pause(ctx context.Context, name string) (Entry, error) {
	return r.setPaused(ctx, name, true)
}

// Resume undoes Pause.
func (r *Registry) Resume(ctx context.Context, name string) (Entry, error) {
	return r.setPaused(ctx, name, false)
}

func (r *Registry) setPaused(ctx context.Context, name string, paused bool) (Entry, error) {
	e, err := r.Get(ctx, name)
	if err != nil {
		return Entry{}, err
	}
	if !e.Deleted.IsZero() {
		return Entry{}, deletedError(e)
	}
	if e.Paused() == paused {
		return e, nil
	}
	e.Config.Paused = new(paused)
	return r.store(ctx, e.stored(), e.Revision)
}

// Delete stops new publishes to a channel and all deliveries. Everything is kept
// for DeletedRetention and can be restored; Sweep removes it afterwards. It may
// be repeated.
func (r *Registry) Delete(ctx context.Context, name string, expect uint64) (Entry, error) {
	e, err := r.Get(ctx, name)
	if err != nil {
		return Entry{}, err
	}
	if e.Revision != expect {
		return Entry{}, fmt.Errorf("%w: %s is at revision %d, not %d", ErrRevision, name, e.Revision, expect)
	}
	if e.Deleted.IsZero() {
		e.Deleted = time.Now().UTC().Truncate(time.Second)
		if e, err = r.store(ctx, e.stored(), e.Revision); err != nil {
			return Entry{}, err
		}
	}
	return e, r.applyStream(ctx, e)
}

// Restore brings a deleted channel back with all it had.
func (r *Registry) Restore(ctx context.Context, name string) (Entry, error) {
	e, err := r.Get(ctx, name)
	if err != nil || e.Deleted.IsZero() {
		return e, err
	}
	if !e.Sweeping.IsZero() {
		return Entry{}, fmt.Errorf("%w: channel %s is being removed for good, since %s", ErrNotFound, name, e.Sweeping.Format(time.RFC3339))
	}
	e.Deleted = time.Time{}
	if err := r.applyStream(ctx, e); err != nil {
		return Entry{}, err
	}
	return r.store(ctx, e.stored(), e.Revision)
}

func deletedError(e Entry) error {
	return fmt.Errorf("%w: %s, since %s; it can be restored until %s", ErrDeleted, e.Config.Name,
		e.Deleted.Format(time.RFC3339), e.Deleted.Add(DeletedRetention).Format(time.RFC3339))
}

// Sweep removes what belongs to channels that were deleted longer ago than
// DeletedRetention, as of now, and returns their names. It may run anywhere, any
// number of times: the registry's entry ends last.
func (r *Registry) Sweep(ctx context.Context, now time.Time) ([]string, error) {
	entries, err := r.List(ctx)
	var (
		swept []string
		errs  = []error{err}
	)
	for _, e := range entries {
		if e.Deleted.IsZero() || now.Before(e.Deleted.Add(DeletedRetention)) {
			continue
		}
		removed, err := r.remove(ctx, e, now)
		if err != nil {
			errs = append(errs, fmt.Errorf("remove channel %s: %w", e.Config.Name, err))
		}
		if removed {
			swept = append(swept, e.Config.Name)
		}
	}
	return swept, errors.Join(errs...)
}

// sweepPatience is how long a sweeper may take for a channel. Another one goes on with
// it after sweepAgain: the first is gone, or its context has ended.
const (
	sweepPatience = time.Minute
	sweepAgain    = 10 * time.Minute
)

// remove removes all of a channel, and reports whether it has: somebody else may be at
// it. It claims the channel first: an entry that somebody
// has listed may be of a channel that was restored, or removed and made anew, since.
// What a killed broker brings back of it is known by the channel's id, progress by its
// generation.
func (r *Registry) remove(ctx context.Context, e Entry, now time.Time) (bool, error) {
	if now.Sub(e.Sweeping) < sweepAgain {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sweepPatience)
	defer cancel()
	e.Sweeping = now.UTC().Truncate(time.Second)
	e, err := r.store(ctx, e.stored(), e.Revision)
	if errors.Is(err, ErrRevision) { // somebody else was faster
		return false, nil
	}
	if err != nil {
		return false, err
	}
	name := e.Config.Name
	err = r.js.DeleteStream(ctx, wire.UpdateStream(r.names, events.ToChannel(name))) // and its consumers; those in a topic's stream go when they are idle
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, err
	}
	for _, what := range []struct{ stream, subjects string }{
		{wire.KVStream(wire.LedgerBucket(r.names)), wire.KVSubject(wire.LedgerBucket(r.names), name+".>")},
		{wire.KVStream(wire.ProgressBucket(r.names)), wire.KVSubject(wire.ProgressBucket(r.names), name+".>")},
		{wire.OutcomeStream(r.names), wire.OutcomesOf(r.names, name)},
		{wire.ParkedStream(r.names), wire.ParkedFilter(r.names, name)},
		{wire.DeadStream(r.names), wire.DeadFilter(r.names, name)},
		{wire.KVStream(wire.LettersBucket(r.names)), wire.KVSubject(wire.LettersBucket(r.names), name+".>")},
	} {
		s, err := r.js.Stream(ctx, what.stream)
		if err != nil {
			return false, err
		}
		if err := s.Purge(ctx, jetstream.WithPurgeSubject(what.subjects)); err != nil {
			return false, err
		}
	}
	gone := stored{ID: e.ID, Generation: e.Generation, Config: Config{Name: name}, Deleted: e.Deleted, Swept: now.UTC().Truncate(time.Second)}
	_, err = r.store(ctx, gone, e.Revision)
	return err == nil, err
}
