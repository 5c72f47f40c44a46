// Package relay carries what a platform's transactions have committed to the broker: the
// rows of an outbox, or of a table that the platform keeps anyway.
package relay

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// Limits of one claim. Whoever claims rows holds their locks until what it publishes is
// answered, so a claim is small enough to be done within claimFor.
const (
	claimRows  = 2000
	claimBytes = 8 << 20
	claimFor   = 5 * time.Second
	// takeFor is how long a claim takes rows: what was taken is to be answered within claimFor.
	takeFor = 3 * time.Second
	// portionRows are read, and removed, by one statement.
	portionRows = 500
	// windowRows are looked through for the oldest row of each key: several claims at
	// once find different ones.
	windowRows = 4000
	// finishFor bounds how long the database may take to remove what was published.
	finishFor = 10 * time.Second
	inFlight  = 256
	// noteLen bounds a note, in bytes.
	noteLen = 1000
)

// Waits after an update that could not be published for now.
const (
	firstWait = 100 * time.Millisecond
	mostWait  = 10 * time.Second
	// sayEvery is how often the log repeats why rows of a target wait.
	sayEvery = time.Minute
)

// A Publisher publishes updates as publish.Publisher does.
type Publisher interface {
	PublishAll(ctx context.Context, updates iter.Seq[events.Update], inFlight int) iter.Seq2[events.Receipt, error]
}

// An Observer hears how it goes. Its methods may be called at once from several goroutines.
type Observer interface {
	// Relayed counts rows of a target that are done with.
	Relayed(target string, what Result, n int)
	// Held says why a target's rows wait; nil: they do not.
	Held(target string, why error)
	// Stands says how the outbox stands, by target.
	Stands(standings map[string]Standing)
}

// A Result is what became of a row.
type Result string

// The results. A row of the last two would replace something newer, or is nothing that can
// be published.
const (
	Published Result = "published"
	Duplicate Result = "duplicate"
	Stale     Result = "stale"
	SetAside  Result = "set_aside"
)

// Options say what to relay.
type Options struct {
	DB        *Database
	Publisher Publisher
	// MaxPayload is what the broker takes, in bytes.
	MaxPayload func() int64
	// Poll is how often the table is looked at that nobody has said anything of.
	Poll time.Duration
	// Claims is how many claims are worked on at once, at least 1; of SQLite one.
	Claims int
	// Wake gets a value when there may be something to do; nil: only Poll does.
	Wake     <-chan struct{}
	Logger   zerolog.Logger
	Observer Observer
}

// A Relay publishes the rows of an outbox, oldest first for each key, and removes them. Any
// number of relays may work on one outbox, but of SQLite one.
type Relay struct {
	o      Options
	sql    speech
	holds  *holds
	slots  *semaphore.Weighted
	done   chan struct{} // a claim has ended
	failed chan error

	mu      sync.Mutex
	at      map[string]int // claims at work, by target
	running sync.WaitGroup
	broken  error // what the database said last
	// What Watch has found.
	problems, notes []string
}

// New returns a relay.
func New(o Options) *Relay {
	if o.DB.Dialect == outbox.SQLite || o.Claims < 1 {
		o.Claims = 1
	}
	return &Relay{
		o: o, sql: speechOf(o.DB.Dialect), slots: semaphore.NewWeighted(int64(o.Claims)),
		done: make(chan struct{}, 1), failed: make(chan error, 1),
		at: map[string]int{}, holds: newHolds("rows of the outbox", o.Logger, o.Observer),
		problems: []string{"the outbox was not read yet"},
	}
}

// Run relays until ctx ends, then finishes the claims at work and returns nil. The error is
// events.ErrIncarnation: the broker is another one than before, and the Publisher of no use.
// A database or broker that is away is waited for.
func (r *Relay) Run(ctx context.Context) error {
	defer r.running.Wait()
	tick := time.NewTicker(r.o.Poll)
	defer tick.Stop()
	for {
		err := r.start(ctx)
		if ctx.Err() != nil {
			return nil
		}
		r.note(ctx, err)
		select {
		case <-ctx.Done():
			return nil
		case err := <-r.failed:
			return err
		case <-tick.C:
		case <-r.o.Wake:
		case <-r.done:
		}
	}
}

// note logs what the database says when that changes.
func (r *Relay) note(ctx context.Context, err error) {
	r.mu.Lock()
	before := r.broken
	r.broken = err
	r.mu.Unlock()
	switch {
	case err != nil && before == nil:
		r.o.Logger.Error().Str("error", words.Of(r.o.DB.explain(ctx, err))).Msg("the outbox cannot be read; trying again")
	case err == nil && before != nil:
		r.o.Logger.Info().Msg("the outbox can be read again")
	}
}

// start begins a claim for each target that has rows, as long as there are slots.
func (r *Relay) start(ctx context.Context) error {
	for target, err := range targets(ctx, r.o.DB.DB, r.sql) {
		if err != nil {
			return err
		}
		if !r.free(target) {
			continue
		}
		if err := r.slots.Acquire(ctx, 1); err != nil {
			return err
		}
		r.begin(ctx, target)
	}
	return nil
}

// free reports whether nobody works on a target, and nothing speaks against it.
func (r *Relay) free(target string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at[target] == 0 && r.holds.free(target)
}

// begin works on a target in a slot that the caller has acquired.
func (r *Relay) begin(ctx context.Context, target string) {
	r.mu.Lock()
	r.at[target]++
	r.mu.Unlock()
	r.running.Go(func() {
		defer r.end(target)
		for more := true; more && ctx.Err() == nil; {
			var err error
			more, err = r.claim(ctx, target)
			r.slots.Release(1)
			if err != nil {
				r.hold(target, err)
				return
			}
			if more && r.slots.TryAcquire(1) { // nobody waits, and there is enough for two
				r.begin(ctx, target)
			}
			if more && r.slots.Acquire(ctx, 1) != nil { // behind other targets that wait
				return
			}
		}
	})
}

func (r *Relay) end(target string) {
	r.mu.Lock()
	if r.at[target]--; r.at[target] == 0 {
		delete(r.at, target)
	}
	r.mu.Unlock()
	select {
	case r.done <- struct{}{}:
	default:
	}
}

// hold leaves a target alone for a while. If the broker is another one, the relay ends.
func (r *Relay) hold(target string, err error) {
	if errors.Is(err, events.ErrIncarnation) {
		select {
		case r.failed <- err:
		default:
		}
	}
	r.holds.hold(target, err)
}
