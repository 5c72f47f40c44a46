package relay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/events"
)

// FollowOptions say what to follow.
type FollowOptions struct {
	Source    *Source
	Publisher Publisher
	// MaxPayload is what the broker takes, in bytes.
	MaxPayload func() int64
	// Overlap is how far before the newest version each pass begins.
	Overlap Overlap
	// Poll is how often the query is run.
	Poll     time.Duration
	Logger   zerolog.Logger
	Observer Observer
}

// A Follower publishes what a query finds in the platform's own tables, again and again: all
// rows at first, and then those that are new. It changes nothing there. Any number of
// followers may follow one table.
type Follower struct {
	o      FollowOptions
	holds  *holds
	cursor *cursor
	memory *memory
	bad    *badRows
	// moved is when the pass that runs has had its last row, in nanoseconds since 1970; 0: none
	// runs.
	moved atomic.Int64

	mu     sync.Mutex
	broken error           // what the database said last
	there  map[string]bool // the targets that the last pass has met
	// What Watch has found.
	problems, notes []string
}

// Follow returns a follower.
func Follow(o FollowOptions) *Follower {
	return &Follower{
		o: o, holds: newHolds("rows of the query", o.Logger, o.Observer), cursor: newCursor(o.Overlap), memory: newMemory(), bad: newBadRows(),
	}
}

// Run follows until ctx ends and returns nil. The error is events.ErrIncarnation, as that of
// Relay.Run. A database or broker that is away is waited for.
func (f *Follower) Run(ctx context.Context) error {
	for {
		err := f.pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, events.ErrIncarnation) {
			return err
		}
		f.note(err)
		next := time.NewTimer(f.pause(err))
		select {
		case <-ctx.Done():
			next.Stop()
			return nil
		case <-next.C:
		}
	}
}

// pause returns how long to wait for the next pass: until a target that waits has its turn,
// if that is sooner.
func (f *Follower) pause(err error) time.Duration {
	pause := f.o.Poll
	if err == nil {
		for target := range f.cursor.pins {
			pause = min(pause, max(time.Until(f.holds.of(target).until), firstWait))
		}
	}
	return pause
}

// note logs what the database says when that changes.
func (f *Follower) note(err error) {
	f.mu.Lock()
	before := f.broken
	f.broken = err
	f.mu.Unlock()
	switch {
	case err != nil && before == nil:
		f.o.Logger.Error().Err(err).Msg("the query cannot be read; trying again")
	case err == nil && before != nil:
		f.o.Logger.Info().Msg("the query can be read again")
	}
}

// Watch finds out until ctx ends which targets stall: their rows have waited for so long.
func (f *Follower) Watch(ctx context.Context, stallAfter time.Duration) {
	tick := time.NewTicker(watchEvery(stallAfter))
	defer tick.Stop()
	for {
		f.findStalled(stallAfter)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// findStalled notes which targets stall. A follower of which no target moves is not ready;
// nor is one that cannot read the query.
func (f *Follower) findStalled(stallAfter time.Duration) {
	stalled := f.holds.stalled(stallAfter)
	note := f.bad.note()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problems, f.notes = nil, nil
	if f.broken != nil {
		f.problems = []string{"the query cannot be read: " + words.Of(f.broken)}
	}
	if at := f.moved.Load(); at != 0 && time.Since(time.Unix(0, at)) >= stallAfter {
		f.problems = append(f.problems, "the query has given no row for "+time.Since(time.Unix(0, at)).Round(time.Second).String())
	}
	if len(stalled) > 0 && len(stalled) >= len(f.there) {
		f.problems = append(f.problems, stalled...)
	} else {
		f.notes = stalled
	}
	if note != "" {
		f.notes = append(slices.Clip(f.notes), note)
	}
}

// Problems says why the follower is not ready, as Watch has found; nil if it is.
func (f *Follower) Problems() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problems
}

// Notes says what is wrong and holds nothing up.
func (f *Follower) Notes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.notes
}
