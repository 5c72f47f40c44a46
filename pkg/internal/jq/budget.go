package jq

import "context"

// A Budget is what one run of something other than an expression may take: the time,
// the steps and the memory of a run of a Program, out of the same slots.
type Budget struct{ meter *meter }

// Slots are what the slow runs of one program hold.
type Slots chan struct{}

// NewSlots returns the slots of one more program.
func NewSlots() Slots { return make(Slots, programSlots()) }

// NewBudget begins a run. Close ends it.
func NewBudget(ctx context.Context, slots Slots) Budget { return Budget{newMeter(ctx, slots)} }

// Step counts a step, and waits for a slot where the run is slow. The error wraps
// ErrBounds or ErrCostly, or is that of the context.
func (b Budget) Step() error {
	b.meter.steps++
	if !b.meter.look() {
		return b.meter.Err()
	}
	return nil
}

// Make counts bytes that are made. The error wraps ErrBounds.
func (b Budget) Make(bytes int) error {
	if !b.meter.make(bytes) {
		return b.meter.Err()
	}
	return nil
}

// Close ends the run.
func (b Budget) Close() { b.meter.close() }
