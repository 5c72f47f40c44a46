package delivery

import (
	"context"
	"time"
)

// dispatch starts calls for ready lanes, as many at once as the channel allows,
// until ctx ends.
func (t *tenure) dispatch(ctx context.Context) {
	g := t.p.r.gate
	g.Watch(t)
	defer g.Unwatch(t)
	for {
		var again <-chan time.Time
		if wait := t.startReady(ctx); wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.wakeDispatch:
		case <-again:
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// startReady starts what may be started now, and returns after how long to look
// again: 0 when a signal will come.
func (t *tenure) startReady(ctx context.Context) time.Duration {
	for {
		batch, probe, wait := t.nextBatch(ctx)
		if len(batch) == 0 {
			return wait
		}
		t.calls.Add(1)
		go func() {
			defer t.calls.Done()
			t.deliverOn(ctx, batch, probe)
		}()
	}
}

// deliverOn delivers a batch and then, in its place among the calls in flight, the
// next ones as long as there are any: a goroutine for each call would have to grow
// its stack and to be woken by the dispatcher each time.
func (t *tenure) deliverOn(ctx context.Context, batch []*lane, probe bool) {
	room := t.b.workspaces.Get().(*workspace) //nolint:forcetypeassert // the pool holds nothing else
	defer t.b.workspaces.Put(room)
	for len(batch) > 0 {
		t.deliver(batch, probe, room)
		room.clear()
		t.mu.Lock()
		t.inFlight--
		t.checkIdle()
		t.mu.Unlock()
		batch, probe, _ = t.nextBatch(ctx)
	}
	signal(t.wakeDispatch) // it looks again, and after how long if that is known
}

// nextBatch takes the lanes of the next call, which is in flight from then on, or
// returns after how long to ask again: 0 when a signal will come. That ctx has
// ended is looked at under mu, so that awaitIdle sees every call there will be.
func (t *tenure) nextBatch(ctx context.Context) (batch []*lane, probe bool, wait time.Duration) {
	r := t.p.r
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil || t.refreshing || len(t.ready)+len(t.readyLow) == 0 || t.inFlight >= r.callLimit() || !t.p.lease.Alive() {
		return nil, false, 0
	}
	n, probe, wait := r.gate.Admit(r.maxBatch)
	if n == 0 {
		return nil, false, wait
	}
	if probe {
		t.preferHealthy()
	} else if n, wait = t.withinRate(min(n, len(t.ready)+len(t.readyLow))); n == 0 {
		return nil, false, wait
	}
	t.inFlight++
	return t.popReady(n), probe, 0
}

// withinRate returns how many of n updates the channel's rate allows now, or
// after how long to ask again. Waiting is not failing (guarantee 6).
func (t *tenure) withinRate(n int) (int, time.Duration) {
	limit := t.p.rate
	if limit == nil {
		return n, 0
	}
	now := time.Now()
	if n = min(n, int(limit.TokensAt(now))); n > 0 && limit.AllowN(now, n) {
		return n, 0
	}
	missing := 1 - limit.TokensAt(now)
	return 0, max(time.Millisecond, time.Duration(missing/float64(limit.Limit())*float64(time.Second)))
}

// preferHealthy puts a lane whose head has not failed yet in front of the others:
// a key that always fails says nothing about the target. The caller holds mu.
func (t *tenure) preferHealthy() {
	for i, l := range t.ready {
		if l.queue[0].first.IsZero() {
			copy(t.ready[1:i+1], t.ready[:i])
			t.ready[0] = l
			return
		}
	}
}

// popReady takes up to n lanes off the ready lists, live ones first. An update
// that has broken a batch before goes alone. The caller holds mu.
func (t *tenure) popReady(n int) []*lane {
	batch := make([]*lane, 0, min(n, len(t.ready)+len(t.readyLow)))
	for len(batch) < n && len(t.ready)+len(t.readyLow) > 0 {
		from := &t.ready
		if len(t.ready) == 0 {
			from = &t.readyLow
		}
		l := (*from)[0]
		alone := l.queue[0].alone
		if alone && len(batch) > 0 {
			break
		}
		*from = (*from)[1:]
		l.queued, l.busy = false, true
		batch = append(batch, l)
		if alone {
			break
		}
	}
	return batch
}
