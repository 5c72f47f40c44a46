package operate

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/schema"
	"github.com/hms-utl/extsync/pkg/workers"
)

const (
	// keysInHand and keyBytesInHand bound the keys that a resync job has delivered again
	// together.
	keysInHand     = 200
	keyBytesInHand = 32 << 10
	// resyncEvery is how often it looks how far they are.
	resyncEvery = 300 * time.Millisecond
)

// planKeys counts keys, and notes where the lists that have them end now.
func (c *Client) planKeys(ctx context.Context, e *jobs.Entities, rec *jobs.Record) (tally, error) {
	out := tally{counts: map[string]int{}, exact: true}
	registry, err := c.Registry(ctx)
	if err != nil {
		return out, err
	}
	entry, err := registry.Get(ctx, e.Channel)
	if err != nil {
		return out, err
	}
	if err := registry.CheckKeys(ctx, e.Channel, e.Keys); err != nil {
		return out, err
	}
	whole := channels.Selection{Keys: e.Keys, Prefix: e.Prefix}
	total, err := registry.CountResync(ctx, e.Channel, whole) // fails where there is nothing to deliver again
	if err != nil {
		return out, err
	}
	if out.note, err = c.noteOf(ctx, registry, entry); err != nil {
		return out, err
	}
	if !filtered(e) {
		if total > 0 {
			out.counts[outDelivered] = int(total) //nolint:gosec // a stream has fewer messages
		}
		return out, nil
	}
	for i, stream := range []string{wire.UpdateStream(c.Names, entry.Config.Route()), wire.KVStream(wire.LedgerBucket(c.Names))} {
		s, err := c.JS.Stream(ctx, stream)
		if err != nil {
			return out, err
		}
		rec.Ends[i] = s.CachedInfo().State.LastSeq
	}
	rec.Created = time.Now()
	began := time.Now()
	for page := ""; ; {
		keys, next, err := c.pageOfKeys(ctx, e, rec, page)
		if err != nil {
			return out, err
		}
		if len(keys) > 0 {
			out.counts[outDelivered] += len(keys)
		}
		if page = next; page == "" {
			return out, nil
		}
		if time.Since(began) > planTime {
			out.exact = false
			return out, nil
		}
	}
}

// noteOf is planNote of a channel.
func (c *Client) noteOf(ctx context.Context, registry *channels.Registry, e channels.Entry) (string, error) {
	crew, err := workers.Read(ctx, c.JS, c.Names)
	if err != nil {
		return "", err
	}
	stands, err := standing.Looker{JS: c.JS, Names: c.Names, Registry: registry}.Channel(ctx, e, crew)
	return planNote(e, stands.Health), err
}

// pageOfKeys returns some keys that stand as the selection says, and the cursor of the next
// page; "" behind the last.
func (c *Client) pageOfKeys(ctx context.Context, e *jobs.Entities, rec *jobs.Record, page string) (keys []string, next string, err error) {
	older, _ := schema.ParseDuration(e.OlderThan) // it was checked; "" is 0
	list, err := c.List(ctx, ListQuery{
		Channel: e.Channel, Sync: e.Sync, Health: e.Health, Why: e.Why, Prefix: e.Prefix, OlderThan: older,
		Limit: keysInHand, Cursor: page, ends: rec.Ends, now: rec.Created,
	})
	if err != nil {
		return nil, "", err
	}
	for i := range list.Entities {
		if key := list.Entities[i].Key; key != "" { // nobody can name one that cannot be read
			keys = append(keys, key)
		}
	}
	return keys, list.Next, nil
}

// workOnKeys has the workers deliver keys again, some at a time: each time one resync of the
// channel, which the record names before the next one begins.
func (c *Client) workOnKeys(ctx context.Context, run *jobs.Run) error {
	rec := run.Record()
	e := rec.Selection.Entities
	registry, err := c.Registry(ctx)
	if err != nil {
		return err
	}
	w := keyWork{registry: registry, run: run, e: e}
	if !filtered(e) {
		return run.Aside(ctx, func() error { return w.resync(ctx, channels.Selection{Keys: e.Keys, Prefix: e.Prefix}) })
	}
	for {
		rec = run.Record()
		for part, left := split(rec.Keys); len(part) > 0; part, left = split(left) {
			err := run.Aside(ctx, func() error { return w.resync(ctx, channels.Selection{Keys: part}) }) // the workers do it
			if err != nil {
				return err
			}
			if run.Stopping() {
				return nil
			}
			run.Change(func(r *jobs.Record) { r.Keys, r.Before, r.Resync, r.Counted = left, "", "", map[string]int{} })
			if err := run.Save(ctx); err != nil {
				return err
			}
		}
		if rec.Listed || run.Stopping() {
			return nil
		}
		keys, next, err := c.pageOfKeys(ctx, e, &rec, rec.Page)
		if err != nil {
			return err
		}
		slices.Sort(keys)
		keys = slices.Compact(keys) // one that changes meanwhile may come twice
		run.Change(func(r *jobs.Record) { r.Keys, r.Page, r.Listed, r.Before, r.Resync = keys, next, next == "", "", "" })
	}
}

// split takes the next keys to be delivered together.
func split(keys []string) (part, left []string) {
	size := 0
	for i, key := range keys {
		if size += len(key); size > keyBytesInHand && i > 0 {
			return keys[:i], keys[i:]
		}
	}
	return keys, nil
}

// A keyWork is a job on keys, in the making.
type keyWork struct {
	registry *channels.Registry
	run      *jobs.Run
	e        *jobs.Entities
}

// resync has a selection delivered again, and counts what came of it. One that a former runner
// began goes on.
func (w *keyWork) resync(ctx context.Context, s channels.Selection) error {
	id, err := w.begin(ctx, s)
	if err != nil || id == "" {
		return err
	}
	for asked := false; ; {
		status, err := w.registry.ResyncStatus(ctx, w.e.Channel)
		if err != nil {
			return err
		}
		if status.ID != id {
			return nil // another one begins only when ours is over
		}
		w.count(&status)
		switch {
		case status.State == channels.ResyncDone, status.State == channels.ResyncStopped && w.run.Stopping():
			return nil
		case status.State == channels.ResyncStopped:
			return errResyncStopped
		case w.run.Stopping() && !asked:
			asked = true
			if _, err := w.registry.SetResync(ctx, w.e.Channel, channels.ResyncStopped); err != nil && !errors.Is(err, channels.ErrNoResync) {
				return err
			}
		}
		entry, err := w.registry.Get(ctx, w.e.Channel)
		if err != nil {
			return err
		}
		if !entry.Deleted.IsZero() {
			return errChannelDeleted
		}
		w.run.Waits("")
		if entry.Paused() {
			w.run.Waits("channel " + w.e.Channel + " is paused; the job goes on when it is resumed")
		}
		if !sleep.For(ctx, resyncEvery) {
			return ctx.Err()
		}
	}
}

var errChannelDeleted = errors.New("the channel was deleted meanwhile")

var errResyncStopped = errors.New("somebody has stopped the resync of the channel")

// begin starts the resync, unless it is under way. It returns "" if the job is to stop before.
func (w *keyWork) begin(ctx context.Context, s channels.Selection) (string, error) {
	rec := w.run.Record()
	if rec.Resync != "" {
		return rec.Resync, nil
	}
	for {
		last, err := w.registry.ResyncStatus(ctx, w.e.Channel)
		if err != nil && !errors.Is(err, channels.ErrNoResync) {
			return "", err
		}
		ours := rec.Before != "" && last.ID != "" && last.ID != rec.Before && slices.Equal(last.Keys, s.Keys) && last.Prefix == s.Prefix
		if ours { // a former runner started it, and could not say so
			return last.ID, w.named(ctx, last.ID)
		}
		if w.run.Stopping() {
			return "", nil
		}
		none := cmp.Or(last.ID, "none")
		w.run.Change(func(r *jobs.Record) { r.Before = none })
		if err := w.run.Save(ctx); err != nil {
			return "", err
		}
		began, err := w.registry.StartResync(ctx, w.e.Channel, s)
		switch {
		case err == nil:
			return began.ID, w.named(ctx, began.ID)
		case !errors.Is(err, channels.ErrResyncActive) && !errors.Is(err, channels.ErrFilling):
			return "", err
		}
		w.run.Waits("another resync of channel " + w.e.Channel + " is under way")
		if !sleep.For(ctx, againAfter) {
			return "", ctx.Err()
		}
	}
}

func (w *keyWork) named(ctx context.Context, id string) error {
	w.run.Change(func(r *jobs.Record) { r.Resync, r.Waits = id, "" })
	return w.run.Save(ctx)
}

// count notes how far the resync is.
func (w *keyWork) count(status *channels.ResyncStatus) {
	w.run.Change(func(r *jobs.Record) {
		// What this resync had when it was counted last is in the record already.
		for word, n := range map[string]uint64{outDelivered: status.Delivered, outSkipped: status.Skipped, outFailed: status.Failed} {
			more := int(n) - r.Counted[word] //nolint:gosec // a stream has fewer messages
			if more > 0 {
				r.Count(word, more, "")
				r.Counted[word] += more
			}
		}
		for _, f := range status.Failures {
			text := connectors.Clip("key "+f.Key+" version "+f.Version+": "+strings.TrimPrefix(f.Class+": "+f.Code+": "+f.Message, ": "), maxFailureText)
			if len(r.Failures) < jobs.MaxFailures && !slices.Contains(r.Failures, text) {
				r.Failures = append(r.Failures, text)
			}
		}
	})
}
