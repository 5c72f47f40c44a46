package lease

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Causes for which the context of a lease ends.
var (
	ErrLost     = errors.New("the lease of the shard was lost")
	ErrLapsed   = errors.New("the lease of the shard could not be renewed in time")
	ErrReleased = errors.New("the lease of the shard was handed over")
)

// ErrHeld: the shard is leased to another worker.
var ErrHeld = errors.New("the shard is leased to another worker")

// A HeldError is an ErrHeld that may be over soon.
type HeldError struct {
	Lapses time.Duration // after which the lease has lapsed, unless it is renewed
}

func (e *HeldError) Error() string { return ErrHeld.Error() }

// Unwrap returns ErrHeld.
func (e *HeldError) Unwrap() error { return ErrHeld }

// A Lease is the right to work on a shard. Its context ends no later than the
// moment from which another worker may get it: that is the fence in front of
// every call to a target (guarantee 2). Its methods may be called concurrently.
type Lease struct {
	shard int
	epoch uint64
	ctx   context.Context //nolint:containedctx // the life of the lease, which outlives the call that got it
	end   context.CancelCauseFunc
	turns atomic.Uint64

	mu       sync.Mutex
	revision uint64
	deadline time.Time
	timer    *time.Timer
}

// Shard returns the shard that it is for.
func (le *Lease) Shard() int { return le.shard }

// Epoch returns a number that no other lease of the shard has had in this
// incarnation. Later leases have greater ones.
func (le *Lease) Epoch() uint64 { return le.epoch }

// Context returns the context that ends with the lease; the cause says why.
func (le *Lease) Context() context.Context { return le.ctx }

// Turn returns 1, then 2, and so on: with the epoch it names a stretch of work
// under the lease, and is never used twice.
func (le *Lease) Turn() uint64 { return le.turns.Add(1) }

// start returns a lease that ends with parent or at a deadline.
func start(parent context.Context, shard int, revision uint64, deadline time.Time) *Lease {
	ctx, end := context.WithCancelCause(parent)
	le := &Lease{shard: shard, epoch: revision, ctx: ctx, end: end}
	le.extend(deadline, revision)
	return le
}

func (le *Lease) currentRevision() uint64 {
	le.mu.Lock()
	defer le.mu.Unlock()
	return le.revision
}

func (le *Lease) extend(deadline time.Time, revision uint64) {
	le.mu.Lock()
	defer le.mu.Unlock()
	le.deadline, le.revision = deadline, revision
	if le.timer != nil {
		le.timer.Stop()
	}
	le.timer = time.AfterFunc(time.Until(deadline), le.lapse)
}

// lapse ends the lease if it was not extended meanwhile.
func (le *Lease) lapse() {
	if !le.Alive() {
		le.end(ErrLapsed)
	}
}

// Alive reports whether the lease's time is not over. It is asked before every
// call to a target: a process that was frozen runs on before its timers do.
func (le *Lease) Alive() bool {
	le.mu.Lock()
	defer le.mu.Unlock()
	return time.Now().Before(le.deadline)
}

// Until returns when the lease's time is over, if it is not renewed.
func (le *Lease) Until() time.Time {
	le.mu.Lock()
	defer le.mu.Unlock()
	return le.deadline
}

// Stop ends the lease for good.
func (le *Lease) Stop(cause error) {
	le.end(cause)
	le.mu.Lock()
	defer le.mu.Unlock()
	if le.timer != nil {
		le.timer.Stop()
	}
}
