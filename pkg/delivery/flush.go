package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/hms-utl/extsync/pkg/channels"
)

const (
	// flushEvery is by how much the ledger lags behind the log at most, while
	// the broker answers and updates come as usual. When more than flushMany outcomes
	// of all partitions come in that time, flushShare of them of this one, or the last
	// flush had more records, it is flushBusy, unless no more come: of a key that
	// changes often one record in that time is enough (docs/adr/0022, 0024).
	flushEvery = 500 * time.Millisecond
	flushBusy  = 5 * time.Second
	flushMany  = 1024
	flushShare = 16
	// flushRest is how long a partition rests that nothing is told. Whatever
	// changes its progress wakes it, so that is for what nobody thought of.
	flushRest = time.Minute
	// flushMost is how far apart tries to write it are while that fails.
	flushMost = 5 * time.Second
)

// flushLoop writes what is new to the ledger until ctx ends.
func (t *tenure) flushLoop(ctx context.Context) {
	failing := false
	for wait := flushEvery; t.awaitFlush(ctx, wait, !failing); {
		waiting := t.takeFlushWaiters()
		written, err := t.flush(ctx, false)
		for _, done := range waiting {
			done(err)
		}
		switch failing = err != nil; {
		case err == nil && written > flushMany:
			wait = flushBusy
		case err == nil:
			wait = flushEvery
		case errors.Is(err, channels.ErrProgressChanged):
			t.fail(err)
			return
		case ctx.Err() == nil:
			// What cannot be written stays in memory: no more may come.
			wait = min(2*wait, flushMost)
			t.p.r.gate.hold(2 * wait)
			t.log.Warn().Err(err).Msg("write the ledger; outcomes are safe in the log, and the channel waits")
		}
	}
}

// awaitFlush waits until it is time for the next flush: most has passed or, if
// sooner, no more outcomes come, too much is ahead of the bucket or somebody asks
// for one.
func (t *tenure) awaitFlush(ctx context.Context, most time.Duration, sooner bool) bool {
	if sooner && !t.awaitNews(ctx) {
		return false
	}
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	_, before := t.flushState()
	allBefore := t.b.outcomesAdded.Load()
	for waited := time.Duration(0); waited < most; {
		if now, _ := t.flushState(); now && sooner {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.wakeFlush:
		case <-ticker.C:
			waited += flushEvery
			_, added := t.flushState()
			if added == before && sooner {
				return true
			}
			all := t.b.outcomesAdded.Load()
			if most < flushBusy && all-allBefore > flushMany && added-before >= flushShare && sooner {
				most = flushBusy
			}
			before, allBefore = added, all
		}
	}
	return true
}

// awaitNews waits until there is something to write, and for flushRest at most.
// Many partitions have nothing to do most of the time.
func (t *tenure) awaitNews(ctx context.Context) bool {
	t.mu.Lock()
	t.resting = t.view.added == 0 && t.view.dirty == 0 && len(t.flushWaiters) == 0
	resting := t.resting
	t.mu.Unlock()
	if !resting {
		return true
	}
	timer := time.NewTimer(flushRest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-t.wakeFlush:
	}
	return true
}

// endRest lets the ledger be written soon. The caller holds mu.
func (t *tenure) endRest() {
	if t.resting {
		t.resting = false
		signal(t.wakeFlush)
	}
}

// flushState says whether a flush cannot wait, and how many outcomes there were
// since the last one.
func (t *tenure) flushState() (now bool, added int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.view.full() || len(t.flushWaiters) > 0, t.view.added
}

// flushSoon has the ledger brought up to what is in the log now, and calls done
// when it is, or could not be.
func (t *tenure) flushSoon(done func(error)) {
	t.mu.Lock()
	t.flushWaiters = append(t.flushWaiters, done)
	t.mu.Unlock()
	signal(t.wakeFlush)
}

func (t *tenure) takeFlushWaiters() []func(error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := t.flushWaiters
	t.flushWaiters = nil
	return waiting
}

// takeDirty returns the records that are ahead of the bucket.
func (t *tenure) takeDirty() []*keyState {
	t.mu.Lock()
	defer t.mu.Unlock()
	dirty := make([]*keyState, 0, t.view.dirty)
	for _, s := range t.view.keys {
		if s.dirty {
			dirty = append(dirty, s)
		}
	}
	t.view.added = 0
	return dirty
}

// flush writes every record that is ahead of the bucket, then the progress that
// they add up to. It returns how many records there were.
func (t *tenure) flush(ctx context.Context, clean bool) (int, error) {
	t.mu.Lock()
	logSeq, floor, storedAt := t.ackedSeq, t.floor.value(), t.floor.storedAt()
	done := uint64(max(0, t.received-t.inHand)) //nolint:gosec // not negative
	t.mu.Unlock()
	dirty := t.takeDirty()
	if err := t.writeRecords(ctx, dirty); err != nil {
		return len(dirty), err
	}
	circuit, since, reason := t.p.r.gate.status()
	next := t.p.r.gate.nextProbe()
	return len(dirty), t.writeProgress(ctx, func(p *channels.Progress) {
		p.LogSeq, p.Floor, p.FloorTime, p.Done, p.Clean = logSeq, floor, storedAt, done, clean
		p.Circuit, p.Since, p.Reason = circuit, since.Unix(), reason
		p.NextProbe = 0
		if !next.IsZero() {
			p.NextProbe = next.UnixMilli()
		}
	})
}
