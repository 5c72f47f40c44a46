package delivery

import (
	"context"
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// tidyMost bounds the keys whose dead letters wait to be removed. What finds no
// room stays; the ledger says that it no longer counts.
const tidyMost = 10_000

// resolves reports whether a committed outcome may have settled dead letters of
// its key. rec is the record with the outcome, applied what the target held
// before.
func resolves(c *commit, rec *events.Record, applied versioning.Version) bool {
	if c.item != nil && (c.item.replay || c.item.resync != nil) {
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
// It works behind the log (guarantee 1): if this worker dies first, the letters
// stay, but the ledger no longer names them.
func (t *tenure) tidyLoop(ctx context.Context) {
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
		for key, rec := range untidy {
			if ctx.Err() != nil {
				return
			}
			if err := t.tidy(ctx, key, &rec); err != nil && ctx.Err() == nil {
				t.log.Warn().Err(err).Str("key", rec.Key).Msg("remove settled dead letters; they no longer count")
			}
		}
	}
}

func (t *tenure) tidy(ctx context.Context, key string, rec *events.Record) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := t.b.letters.Tidy(ctx, t.p.r.entry.Config.Name, key, rec)
	return err
}
