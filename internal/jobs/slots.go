package jobs

import (
	"context"
	"time"
)

// slots are what runs have while they work. One that only waits leaves its slot to others.
type slots chan struct{}

func (s slots) try() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) free() { <-s }

// leave gives the slot back, if the run has one.
func (r *Run) leave() {
	if !r.aside {
		r.aside = true
		r.slots.free()
	}
}

// Aside does something in which the job only waits for others, so that it holds no other job
// back. It is for the goroutine in which the work was called.
func (r *Run) Aside(ctx context.Context, wait func() error) error {
	r.leave()
	if err := wait(); err != nil {
		return err
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for !r.Stopping() { // what is left to do then takes a moment
		select {
		case r.slots <- struct{}{}:
			r.aside = false
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
