package ledger

import (
	"context"
	"time"
)

const (
	// writeEvery is by how much the ledger lags behind the log at most, while
	// the broker answers and updates come as usual. When more than writeMany outcomes
	// of all views come in that time, writeShare of them of this one, or the last
	// write had more records, it is writeBusy, unless no more come: of a key that
	// changes often one record in that time is enough (docs/adr/0022, 0024).
	writeEvery = 500 * time.Millisecond
	writeBusy  = 5 * time.Second
	writeMany  = 1024
	writeShare = 16
	// restMost is how long a view rests that nothing is told. Whatever there is to
	// write wakes it, so that is for what nobody thought of.
	restMost = time.Minute
	// failingMost is how far apart tries to write are while that fails.
	failingMost = 5 * time.Second
)

// Run calls write, which is to call Write and returns how many records there were,
// whenever it is time, until ctx ends. After an error it calls trouble with it and
// how long it will wait; what cannot be written stays in memory, so no more should
// come for some time. Run ends, too, when trouble returns false.
func (v *View) Run(ctx context.Context, write func(context.Context) (int, error), trouble func(err error, wait time.Duration) (goOn bool)) {
	failing := false
	for wait := writeEvery; v.awaitDue(ctx, wait, !failing); {
		asking := v.takeAsking()
		written, err := write(ctx)
		for _, done := range asking {
			done(err)
		}
		switch failing = err != nil; {
		case err == nil && written > writeMany:
			wait = writeBusy
		case err == nil:
			wait = writeEvery
		case ctx.Err() == nil:
			wait = min(2*wait, failingMost)
			if !trouble(err, wait) {
				return
			}
		}
	}
}

// Ask has the ledger brought up to what was applied until now, and calls done when
// it is, or could not be.
func (v *View) Ask(done func(error)) {
	v.mu.Lock()
	v.asking = append(v.asking, done)
	v.mu.Unlock()
	signal(v.wake)
}

// takeAsking begins a write: whatever is asked or stirred from now on is for the next.
func (v *View) takeAsking() []func(error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	asking := v.asking
	v.asking, v.stirred = nil, false
	return asking
}

// Stir has Run call write soon although no outcome was applied: what goes with the
// records has changed.
func (v *View) Stir() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stirred = true
	v.stir()
}

func (v *View) stir() {
	if v.resting {
		v.resting = false
		signal(v.wake)
	}
}

// Look has Run look again whether it is time.
func (v *View) Look() { signal(v.wake) }

// awaitDue waits until it is time for the next write: most has passed or, if
// sooner, no more outcomes come, too much is ahead of the bucket or somebody asks
// for it.
func (v *View) awaitDue(ctx context.Context, most time.Duration, sooner bool) bool {
	if sooner && !v.awaitNews(ctx) {
		return false
	}
	ticker := time.NewTicker(writeEvery)
	defer ticker.Stop()
	_, before := v.due()
	allBefore := v.o.Shared.outcomes.Load()
	for waited := time.Duration(0); waited < most; {
		if now, _ := v.due(); now && sooner {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-v.wake:
		case <-ticker.C:
			waited += writeEvery
			_, added := v.due()
			if added == before && sooner {
				return true
			}
			all := v.o.Shared.outcomes.Load()
			if most < writeBusy && all-allBefore > writeMany && added-before >= writeShare && sooner {
				most = writeBusy
			}
			before, allBefore = added, all
		}
	}
	return true
}

// awaitNews waits until there is something to write, and for restMost at most.
// Many partitions have nothing to do most of the time.
func (v *View) awaitNews(ctx context.Context) bool {
	v.mu.Lock()
	v.resting = v.added == 0 && v.dirty == 0 && len(v.asking) == 0 && !v.stirred
	resting := v.resting
	v.mu.Unlock()
	if !resting {
		return true
	}
	timer := time.NewTimer(restMost)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-v.wake:
	}
	return true
}

// due says whether a write cannot wait, and how many outcomes there were since the
// last one.
func (v *View) due() (now bool, added int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.full() || len(v.asking) > 0, v.added
}
