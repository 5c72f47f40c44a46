package delivery

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

const (
	// tidyMost bounds the keys whose dead letters wait to be removed. What finds no
	// room stays until the partition has its next owner; the ledger says that it no
	// longer counts.
	tidyMost = 10_000
	// letteredMost bounds the keys with dead letters that are listed at a takeover;
	// where there are more, doctor removes what stays.
	letteredMost = 10_000
	// tidyPause is how far apart these are looked at, tidyRetry for how long nothing is
	// tidied when the broker did not answer.
	tidyPause = 5 * time.Millisecond
	tidyRetry = time.Second
)

// resolves reports whether a committed outcome may have settled dead letters of
// its key. rec is the record with the outcome, applied what the target held
// before, lettered whether the key is known to have letters.
func resolves(c *commit, rec *events.Record, applied versioning.Version, lettered bool) bool {
	if c.item != nil && (c.item.replay || c.item.resync != nil) {
		return true
	}
	if lettered && (c.entry.Outcome == events.Delivered || c.entry.Outcome == events.Superseded || c.item != nil && c.item.lettered) {
		return true
	}
	if c.entry.Outcome != events.Delivered {
		return false
	}
	for _, s := range rec.Recent {
		if (s.Outcome == events.DeadLettered || s.Outcome == events.Conflict) && !isOlder(s.Version, applied) {
			return true
		}
	}
	return false
}

// queueTidy has the settled dead letters of a key removed soon. The record itself
// is used again. The caller holds mu.
func (t *tenure) queueTidy(key string, rec events.Record) {
	if _, ok := t.untidy[key]; ok || len(t.untidy) < tidyMost {
		rec.Recent = slices.Clone(rec.Recent)
		t.untidy[key] = rec
		signal(t.wakeTidy)
	}
}

// tidyLoop removes dead letters that later outcomes have settled, until ctx ends.
// It works behind the log (guarantee 1): if this worker dies first, the ledger no
// longer names them, and the next owner of the partition finds them.
func (t *tenure) tidyLoop(ctx context.Context) {
	t.findLetters(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wakeTidy:
		}
		t.mu.Lock()
		untidy := t.untidy
		t.untidy = map[string]events.Record{}
		t.mu.Unlock()
		failed := 0
		for key, rec := range untidy {
			if ctx.Err() != nil {
				return
			}
			if err := t.tidy(ctx, key, &rec); err != nil && ctx.Err() == nil {
				if failed++; failed == 1 {
					t.log.Warn().Err(err).Str("key", rec.Key).Msg("remove settled dead letters; they no longer count, and it is tried again")
				}
				t.tidyAgain(key, &rec)
			}
		}
		if failed > 0 {
			sleep.For(ctx, tidyRetry)
		}
	}
}

// tidyAgain has the letters of a key looked at again, unless a newer record is queued.
func (t *tenure) tidyAgain(key string, rec *events.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, newer := t.untidy[key]; !newer {
		t.queueTidy(key, *rec)
	}
}

func (t *tenure) tidy(ctx context.Context, key string, rec *events.Record) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	left, err := t.b.letters.Tidy(ctx, t.p.r.entry.Config.Name, key, rec)
	if err == nil && left == 0 {
		t.mu.Lock()
		delete(t.lettered, key)
		t.mu.Unlock()
	}
	return err
}

// findLetters looks, once the partition is taken over, for dead letters that are settled
// or will be: a worker that was killed has left them, after it stored a letter and before
// it committed the outcome, or after that and before it removed the letter; or the broker
// stored one and its answer was lost. Outcomes that follow do not show any of these.
func (t *tenure) findLetters(ctx context.Context) {
	cfg := t.p.r.entry.Config
	var found []string
	for {
		err := events.LetterKeys(ctx, t.b.js, t.b.names, cfg.Name, letteredMost, func(key string) {
			if events.Slot(key)%cfg.Partitions == t.p.index {
				found = append(found, key)
			}
		})
		if err == nil || ctx.Err() != nil {
			break
		}
		t.log.Info().Err(err).Msg("the keys with dead letters are not listed: some that are settled may stay")
		if errors.Is(err, events.ErrTooManyKeys) || !sleep.For(ctx, tidyRetry) {
			return
		}
		found = found[:0]
	}
	t.mu.Lock()
	for _, key := range found {
		t.lettered[key] = true
	}
	t.mu.Unlock()
	for _, key := range found { // what is settled from here on, finishAll sees
		rec, err := t.recordOf(ctx, key)
		if err == nil {
			if err = t.tidy(ctx, key, &rec); err != nil {
				t.tidyAgain(key, &rec)
			}
		}
		if err != nil && ctx.Err() == nil {
			t.log.Warn().Err(err).Str("key", key).Msg("look for settled dead letters; they no longer count")
		}
		if !sleep.For(ctx, tidyPause) {
			return
		}
	}
}

// recordOf returns a copy of the record of a key.
func (t *tenure) recordOf(ctx context.Context, key string) (events.Record, error) {
	k := t.view.Pin(key)
	defer t.view.Unpin(k)
	if err := t.view.Load(ctx, []*ledger.Key{k}); err != nil {
		return events.Record{}, err
	}
	var out events.Record
	t.view.Read(k, func(rec *events.Record) {
		out = *rec
		out.Recent = slices.Clone(rec.Recent)
	})
	return out, nil
}
