package jq

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/itchyny/gojq"
)

// gojq asks its context before each step whether to go on. A meter is that
// context: it counts steps, what is made, time and memory.
type meter struct {
	context.Context //nolint:containedctx // it is one

	ended   <-chan struct{} // of the context
	steps   int
	made    int           // bytes, by what makes values large
	over    error         // the bound that is exceeded
	program chan struct{} // the program's part of slots
	started time.Time
	most    time.Duration // that the run may take
	waited  time.Duration
	slot    bool   // it holds one of slots, and of program
	live    uint64 // of the heap, when it got it
}

const (
	// lookEvery is after how many steps the clock is looked at. A power of 2.
	lookEvery = 64
	// slow is how long a run may take before it needs a slot.
	slow = 20 * time.Millisecond
	// least is what a run gets of a call that is about to end.
	least = 50 * time.Millisecond
)

// slots are held by slow runs, so that no number of them takes all processors
// from the rest of the process.
//
//nolint:gochecknoglobals // the processors are the process's
var slots = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// programSlots are how many of them the runs of one program may have or wait for, so
// that those of others are not behind all of its own.
func programSlots() int { return max(1, cap(slots)/2) }

// over is what a meter gives as Done once a bound is exceeded.
//
//nolint:gochecknoglobals // a constant that the language cannot express as one
var over = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func newMeter(ctx context.Context, program chan struct{}) *meter {
	m := &meter{Context: ctx, ended: ctx.Done(), program: program, started: time.Now(), most: maxTime}
	if deadline, ok := ctx.Deadline(); ok {
		// A call has a time for all of its updates and for the target, too.
		m.most = min(m.most, max(least, deadline.Sub(m.started)/2))
	}
	return m
}

// Done is called by gojq before each step.
func (m *meter) Done() <-chan struct{} {
	if m.steps++; m.steps%lookEvery == 0 {
		m.look()
	}
	if m.over != nil {
		return over
	}
	return m.ended
}

// Err is what gojq gives when Done says that the run is over.
func (m *meter) Err() error {
	if m.over != nil {
		return m.over
	}
	return m.Context.Err()
}

// close ends the run.
func (m *meter) close() {
	if m.slot {
		<-slots
		<-m.program
	}
}

// look compares what the run has taken with its bounds, and reports whether it
// may go on.
func (m *meter) look() bool {
	if m.over != nil || m.Context.Err() != nil {
		return false
	}
	taken := time.Since(m.started) - m.waited
	switch {
	case m.steps > maxSteps:
		m.over = fmt.Errorf("%w: it takes more than %d steps", ErrBounds, maxSteps)
	case taken > m.most:
		m.over = fmt.Errorf("%w: more than %v", ErrCostly, m.most.Round(time.Millisecond))
	case taken < slow || !m.enter():
	case liveHeap() > m.live+maxLive:
		m.over = fmt.Errorf("%w: memory grows by more than %d bytes meanwhile", ErrCostly, maxLive)
	}
	return m.over == nil
}

// enter waits for a slot, unless the run has one.
func (m *meter) enter() bool {
	if m.slot {
		return true
	}
	began := time.Now()
	defer func() { m.waited += time.Since(began) }()
	select {
	case m.program <- struct{}{}:
	case <-m.ended:
		return false
	}
	select {
	case slots <- struct{}{}:
		m.slot, m.live = true, settledHeap()
	case <-m.ended:
		<-m.program
	}
	return m.slot
}

// settled is the last answer of settledHeap.
//
//nolint:gochecknoglobals // the heap is the process's
var settled atomic.Uint64

// settledHeap is liveHeap without what the last runs have left behind: one after
// the other would be allowed more.
func settledHeap() uint64 {
	live := liveHeap()
	if live > settled.Load()+maxLive/2 {
		runtime.GC()
		live = liveHeap()
	}
	settled.Store(live)
	return live
}

// make counts bytes that are about to be made. It reports whether they may be.
func (m *meter) make(bytes int) bool {
	if m.made += bytes; bytes > maxValue || m.made > maxMade {
		m.over = fmt.Errorf("%w: it makes a value larger than %d bytes, or more than %d bytes of them", ErrBounds, maxValue, maxMade)
	}
	return m.over == nil
}

// exceeded ends a run in which a bound is exceeded. Unlike other errors, the
// expression cannot catch it.
func exceeded() any { return &gojq.HaltError{} }

// liveHeap is how much of the heap the last collection found in use, in bytes.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
