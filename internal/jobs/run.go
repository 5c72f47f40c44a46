package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
)

// A Run is a job whose lease this process holds. It is safe for concurrent use.
type Run struct {
	store *Store
	lease time.Duration
	slots slots
	aside bool // it has no slot; the work's own goroutine changes it

	saving   sync.Mutex // one save at a time
	mu       sync.Mutex
	rec      Record
	revision uint64
	renewed  time.Time // when the last save that succeeded was begun; its monotonic clock counts
	began    time.Time
	holder   string
	before   int // done when it began
	lost     context.CancelCauseFunc
}

// Record returns the record as it is now.
func (r *Run) Record() Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rec.clone()
}

// Stopping reports whether the job was asked to stop.
func (r *Run) Stopping() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rec.State == Stopping
}

// Change changes the record in memory; the next Save stores it.
func (r *Run) Change(change func(*Record)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.rec)
}

// Waits says what the job waits for, "" for nothing.
func (r *Run) Waits(what string) { r.Change(func(rec *Record) { rec.Waits = what }) }

// Save stores the record, which renews the lease. It tries again while the broker is away and
// the lease is good. After ErrLost nothing may be done for the job any more.
func (r *Run) Save(ctx context.Context) error {
	r.saving.Lock()
	defer r.saving.Unlock()
	for {
		begun := time.Now()
		r.mu.Lock()
		r.pace(begun)
		rec, revision := r.rec.clone(), r.revision
		r.mu.Unlock()
		revision, err := r.store.write(ctx, &rec, revision)
		switch {
		case err == nil:
			r.mu.Lock()
			r.revision, r.renewed = revision, begun
			r.mu.Unlock()
			return nil
		case errors.Is(err, errChanged):
			if err := r.adopt(ctx); err != nil {
				return err
			}
			continue
		case !wire.IsUnavailable(err), ctx.Err() != nil: // who gives up waiting has not lost the lease
			return err
		}
		if r.expired() {
			return r.lose(err)
		}
		if !sleep.For(ctx, r.lease/20) {
			return err
		}
	}
}

// adopt takes over what somebody else has written into the record: that it shall stop.
func (r *Run) adopt(ctx context.Context) error {
	now, revision, err := r.store.read(ctx, r.rec.ID)
	if err != nil && ctx.Err() != nil {
		return err
	}
	if wire.IsUnavailable(err) && !r.expired() {
		return nil // the next write meets the same
	}
	if err != nil || now.Holder != r.holder {
		return r.lose(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revision = revision
	if r.rec.State == Running {
		r.rec.State = now.State
	}
	return nil
}

func (r *Run) lose(err error) error {
	err = errors.Join(fmt.Errorf("%w: %s", ErrLost, r.rec.ID), err)
	r.lost(err)
	return err
}

// expired reports whether others may soon take the job: they wait for the whole lease after
// they saw the last save, which was after it began.
func (r *Run) expired() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.renewed) > r.lease*2/3
}

// pace notes how fast it goes. The caller holds mu.
func (r *Run) pace(now time.Time) {
	done, took := r.rec.Done-r.before, now.Sub(r.began).Seconds()
	if done == 0 || took <= 0 {
		return
	}
	r.rec.Rate = float64(int(float64(done)/took*100)) / 100
	r.rec.SecondsLeft = nil
	if r.rec.Rate > 0 && r.rec.Waits == "" {
		left := float64(max(r.rec.Total-r.rec.Done, 0)) / r.rec.Rate
		left = float64(int(left*10)) / 10
		r.rec.SecondsLeft = &left
	}
}

// keep renews the lease until ctx ends.
func (r *Run) keep(ctx context.Context, every time.Duration) {
	for sleep.For(ctx, every) {
		if err := r.Save(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, ErrLost) {
			_ = r.lose(err) // the work ends with it
		}
	}
}
