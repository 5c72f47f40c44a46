package operate

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/deadletters"
)

const (
	// inHand is how many letters are noted as in hand at once, handsAtOnce how many keys
	// of them are worked on side by side.
	inHand      = 64
	handsAtOnce = 16
	// ownerPatience is for how long a job waits for a worker, or for a target's worker to
	// answer, until it counts letters as failed: a worker that is replaced is soon there.
	ownerPatience = time.Minute
	againAfter    = time.Second
	// mostPartitions is how many a channel can have; each partition is made of some of these.
	mostPartitions = 16
)

// A letterWork is a job on dead letters, in the making.
type letterWork struct {
	c        *Client
	store    *deadletters.Replayer
	run      *jobs.Run
	discards bool
	channel  string

	mu      sync.Mutex
	waiting patience
}

// workOnLetters replays or discards letters from where the record stands. What is in hand is
// stored before it is touched: after a kill it is known of each letter whether it was counted.
func (c *Client) workOnLetters(ctx context.Context, run *jobs.Run) error {
	store, err := c.DeadLetters(ctx)
	if err != nil {
		return err
	}
	many, err := c.manyLetters(ctx)
	if err != nil {
		return err
	}
	rec := run.Record()
	w := &letterWork{
		c: c, store: store, run: run, discards: rec.Action == jobs.Discard, channel: rec.Channel,
		waiting: patience{ownerPatience, map[string]time.Time{}},
	}
	if len(rec.InHand) > 0 { // by a runner that was killed, or has left
		if err := w.all(ctx, rec.InHand, true); err != nil {
			return err
		}
	}
	f := letterFilter(rec.Selection.Letters)
	f.Upto = rec.Upto
	if !w.discards {
		f.State, f.AnyState = deadletters.StateOpen, false
	}
	if rec.Upto.IsZero() || rec.Cursor >= rec.Upto.Sequence {
		return nil
	}
	for batch, err := range many.Batches(ctx, f, rec.Cursor+1) {
		if err != nil {
			return err
		}
		for part := range slices.Chunk(batch.Entries, inHand) {
			if run.Stopping() {
				return nil
			}
			if err := w.paused(ctx); err != nil {
				return err
			}
			items := make([]jobs.Item, len(part))
			for i := range part {
				items[i] = jobs.Item{Letter: part[i].Sequence, Channel: part[i].Channel, Key: part[i].EncodedKey, Version: part[i].Version.String()}
			}
			run.Change(func(r *jobs.Record) { r.Cursor, r.InHand = part[len(part)-1].Sequence, items })
			if err := run.Save(ctx); err != nil {
				return err
			}
			if err := w.all(ctx, items, false); err != nil {
				return err
			}
		}
		run.Change(func(r *jobs.Record) { r.Cursor = max(r.Cursor, batch.Last) })
	}
	return ctx.Err()
}

// paused waits while the channel of the job is paused. Letters of a channel that is deleted
// are for whoever is asked to send them.
func (w *letterWork) paused(ctx context.Context) error {
	if w.channel == "" || w.discards {
		return nil
	}
	registry, err := w.c.Registry(ctx)
	if err != nil {
		return err
	}
	waits := func() (bool, error) {
		e, err := registry.Get(ctx, w.channel)
		if err == nil && e.Paused() && e.Deleted.IsZero() && !w.run.Stopping() {
			w.run.Waits("channel " + w.channel + " is paused; the job goes on when it is resumed")
			return true, nil
		}
		w.run.Waits("")
		if channelGone(err) {
			return false, nil
		}
		return false, err
	}
	if still, err := waits(); !still {
		return err
	}
	return w.run.Aside(ctx, func() error {
		for sleep.For(ctx, againAfter) {
			if still, err := waits(); !still {
				return err
			}
		}
		return ctx.Err()
	})
}

// all works on what is in hand: several keys at once, the letters of one in order.
func (w *letterWork) all(ctx context.Context, items []jobs.Item, resumed bool) error {
	keys := map[string][]jobs.Item{}
	for _, it := range items {
		keys[it.Channel+"/"+it.Key] = append(keys[it.Channel+"/"+it.Key], it)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(handsAtOnce)
	for _, of := range keys {
		group.Go(func() error {
			for _, it := range of {
				word, failure, err := w.one(ctx, it, resumed)
				if err != nil || word == "" {
					return err
				}
				w.run.Change(func(r *jobs.Record) {
					r.Count(word, 1, failure)
					r.InHand = slices.DeleteFunc(r.InHand, func(other jobs.Item) bool { return other.Letter == it.Letter })
				})
			}
			return nil
		})
	}
	return group.Wait()
}

// one works on a letter, and says how that has ended; "": the job is to stop before.
func (w *letterWork) one(ctx context.Context, it jobs.Item, resumed bool) (word, failure string, err error) {
	for tried := resumed; ; tried = true {
		if w.run.Stopping() && !tried || ctx.Err() != nil {
			return "", "", ctx.Err()
		}
		if w.run.Stopping() { // of a former runner: it is only looked at
			if _, err := w.store.Get(ctx, it.Letter); !errors.Is(err, deadletters.ErrNotFound) {
				return "", "", err
			}
			return w.fate(ctx, it)
		}
		word, err := w.act(ctx, it)
		switch {
		case err == nil, word != "" && !transient(err):
			if word == outGone && tried { // by us: only the answer was lost
				return w.fate(ctx, it)
			}
			if err != nil && word == outFailed {
				failure = clipFailure(it, err)
			}
			w.note(it, "")
			return word, failure, nil
		case ctx.Err() != nil:
			return "", "", ctx.Err()
		}
		// Nobody answers: a worker is replaced, or the broker is away.
		if w.note(it, waitText(it.Channel, err)) {
			if word == "" {
				word = outFailed
			}
			return word, clipFailure(it, err), nil
		}
		if !sleep.For(ctx, againAfter) {
			return "", "", ctx.Err()
		}
	}
}

// transient reports whether a letter may fare better in a moment.
func transient(err error) bool {
	return errors.Is(err, channels.ErrNoOwner) || errors.Is(err, channels.ErrNoAnswer) || wire.IsUnavailable(err)
}

func waitText(channel string, err error) string {
	if errors.Is(err, channels.ErrNoOwner) {
		return "no worker works on a partition of channel " + channel
	}
	return "the broker or a worker of channel " + channel + " does not answer"
}

// note says what a letter waits for, "" for nothing any more, and reports whether those of its
// sixteenth of the channel, which has one owner, have waited for too long.
func (w *letterWork) note(it jobs.Item, what string) bool {
	part := it.Channel + "/" + strconv.Itoa(wire.Partition(it.Key, mostPartitions))
	w.mu.Lock()
	defer w.mu.Unlock()
	if what == "" {
		if _, was := w.waiting.since[part]; was {
			delete(w.waiting.since, part)
			w.run.Waits("")
		}
		return false
	}
	if w.waiting.over(part) {
		return true
	}
	w.run.Waits(what)
	return false
}
