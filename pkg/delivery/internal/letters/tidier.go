package letters

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// untidyMost bounds the keys whose letters wait to be removed. What finds no room stays
	// until the partition has its next owner; the ledger says that it no longer counts.
	untidyMost = 10_000
	// knownMost bounds the keys with letters that are listed at a takeover; where there are
	// more, doctor removes what stays.
	knownMost = 10_000
	// pause is how far apart these are looked at, retry for how long nothing is done when
	// the broker did not answer, patience how long that may take for a key.
	pause    = 5 * time.Millisecond
	retry    = time.Second
	patience = 5 * time.Second
)

// Options say whose letters they are.
type Options struct {
	JS      jetstream.JetStream
	Names   events.Names
	Store   *deadletters.Store
	Channel string
	Letters string // the filter of the partition's letters
	// Record returns a copy of the ledger's record of an encoded key.
	Record func(ctx context.Context, key string) (wire.Record, error)
	Logger zerolog.Logger
}

// A Tidier removes settled letters. It is safe for concurrent use.
type Tidier struct {
	o    Options
	wake chan struct{}

	mu     sync.Mutex
	known  map[string]bool        // encoded keys that have letters, as far as is known
	untidy map[string]wire.Record // by encoded key: where letters may be settled
}

// New returns a tidier that knows of no letters.
func New(o Options) *Tidier {
	return &Tidier{o: o, wake: make(chan struct{}, 1), known: map[string]bool{}, untidy: map[string]wire.Record{}}
}

// Note notes that a key has a letter, or is about to have one, and reports whether it was
// known to have some before.
func (t *Tidier) Note(key string) (before bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if before = t.known[key]; len(t.known) < knownMost {
		t.known[key] = true
	}
	return before
}

// Knows reports whether a key is known to have letters.
func (t *Tidier) Knows(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known[key]
}

// Settled has the settled letters of a key removed soon, by its record, which the caller
// may use again.
func (t *Tidier) Settled(key string, rec *wire.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue(key, rec)
}

// queue is Settled. The caller holds mu.
func (t *Tidier) queue(key string, rec *wire.Record) {
	if _, ok := t.untidy[key]; !ok && len(t.untidy) >= untidyMost {
		return
	}
	kept := *rec
	kept.Recent = slices.Clone(rec.Recent)
	t.untidy[key] = kept
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// again has a key looked at again, unless a newer record is queued.
func (t *Tidier) again(key string, rec *wire.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, newer := t.untidy[key]; !newer {
		t.queue(key, rec)
	}
}

// Run removes settled letters until ctx ends: those that a former owner has left, then
// those of which it is told.
func (t *Tidier) Run(ctx context.Context) {
	t.find(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		}
		t.mu.Lock()
		untidy := t.untidy
		t.untidy = map[string]wire.Record{}
		t.mu.Unlock()
		failed := 0
		for key, rec := range untidy {
			if ctx.Err() != nil {
				return
			}
			if err := t.tidy(ctx, key, &rec); err != nil && ctx.Err() == nil {
				if failed++; failed == 1 {
					t.o.Logger.Warn().Err(err).Str("key", rec.Key).Msg("remove settled dead letters; they no longer count, and it is tried again")
				}
				t.again(key, &rec)
			}
		}
		if failed > 0 {
			sleep.For(ctx, retry)
		}
	}
}

func (t *Tidier) tidy(ctx context.Context, key string, rec *wire.Record) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	left, err := t.o.Store.Tidy(ctx, t.o.Channel, key, rec)
	if err == nil && left == 0 {
		t.mu.Lock()
		delete(t.known, key)
		t.mu.Unlock()
	}
	return err
}

// find looks, once the partition is taken over, for letters that are settled or will be:
// a worker that was killed has left them, after it stored a letter and before it committed
// the outcome, or after that and before it removed the letter; or the broker stored one
// and its answer was lost. Outcomes that follow do not show any of these.
func (t *Tidier) find(ctx context.Context) {
	found, ok := t.list(ctx)
	if !ok {
		return
	}
	t.mu.Lock()
	for _, key := range found {
		t.known[key] = true
	}
	t.mu.Unlock()
	for _, key := range found { // of what is settled from here on we are told
		rec, err := t.o.Record(ctx, key)
		if err == nil {
			if err = t.tidy(ctx, key, &rec); err != nil {
				t.again(key, &rec)
			}
		}
		if err != nil && ctx.Err() == nil {
			t.o.Logger.Warn().Err(err).Str("key", key).Msg("look for settled dead letters; they no longer count")
		}
		if !sleep.For(ctx, pause) {
			return
		}
	}
}

// list returns the partition's keys that have letters; false if that cannot be known.
func (t *Tidier) list(ctx context.Context) (found []string, ok bool) {
	for {
		err := wire.LetterKeys(ctx, t.o.JS, t.o.Names, t.o.Letters, knownMost, func(key string) { found = append(found, key) })
		if err == nil || ctx.Err() != nil {
			return found, ctx.Err() == nil
		}
		t.o.Logger.Info().Err(err).Msg("the keys with dead letters are not listed: some that are settled may stay")
		if errors.Is(err, wire.ErrTooManyKeys) || !sleep.For(ctx, retry) {
			return nil, false
		}
		found = found[:0]
	}
}
