package delivery

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hms-utl/extsync/pkg/delivery/internal/flow"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
)

// A caller makes a tenure's calls.
type caller struct {
	t     *tenure
	wake  chan struct{} // a call could begin
	under sync.WaitGroup
	// atTarget counts calls of the connector.
	atTarget atomic.Int64
}

// run starts calls for ready lanes, as many at once as the channel allows,
// until ctx ends.
func (c *caller) run(ctx context.Context) {
	g := c.t.p.r.gate
	g.Watch(c.t)
	defer g.Unwatch(c.t)
	for {
		var again <-chan time.Time
		if wait := c.startReady(ctx); wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-again:
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// startReady starts what may be started now, and returns after how long to look
// again: 0 when a signal will come.
func (c *caller) startReady(ctx context.Context) time.Duration {
	for {
		one, wait := c.next(ctx)
		if len(one.batch) == 0 {
			return wait
		}
		c.under.Go(func() { c.deliverOn(ctx, one) })
	}
}

// deliverOn delivers a batch and then, in its place among the calls in flight, the
// next ones as long as there are any: a goroutine for each call would have to grow
// its stack and to be woken by the dispatcher each time.
func (c *caller) deliverOn(ctx context.Context, one call) {
	t := c.t
	room := t.b.workspaces.Get().(*workspace) //nolint:forcetypeassert // the pool holds nothing else
	defer t.b.workspaces.Put(room)
	for len(one.batch) > 0 {
		c.deliver(one.batch, one.probe, room)
		room.clear()
		t.begin()
		t.lanes.CallEnded(one.behind)
		t.end()
		one, _ = c.next(ctx)
	}
	signal(c.wake) // it looks again, and after how long if that is known
}

// A call is for the heads of some lanes.
type call struct {
	batch         []*lanes.Lane
	probe, behind bool
}

// next takes the lanes of the next call, which is in flight from then on, or
// returns after how long to ask again: 0 when a signal will come. That ctx has
// ended is looked at under the lock, so that awaitIdle sees every call there will be.
func (c *caller) next(ctx context.Context) (one call, wait time.Duration) {
	t, r := c.t, c.t.p.r
	full := t.quotas.ledgerFull()
	t.mu.Lock()
	defer t.mu.Unlock()
	ready := t.lanes.Ready()
	if ctx.Err() != nil || ready == 0 || !t.p.lease.Alive() {
		return call{}, 0
	}
	if full {
		return call{}, quotaRetry
	}
	n, probe, wait := r.gate.Admit(min(r.maxBatch, ready), t.lanes.Fresh)
	if n > 0 && !probe {
		n, wait = c.withinRate(n)
	}
	if n == 0 {
		return call{}, wait
	}
	batch, behind := t.lanes.Next(n, probe)
	return call{batch, probe, behind}, 0
}

// withinRate returns how many of n updates the channel's rate allows now, or
// after how long to ask again. Waiting is not failing (guarantee 6).
func (c *caller) withinRate(n int) (int, time.Duration) {
	limit := c.t.p.rate
	if limit == nil {
		return n, 0
	}
	return flow.Within(limit, n, time.Now())
}

// sayHung says what does not end with the tenure, and whose it is.
func (c *caller) sayHung() {
	if calls := c.atTarget.Load(); calls > 0 {
		c.t.log.Error().Int64("calls", calls).Msg("a connector ignores that its context has ended; its calls are left behind")
		return
	}
	c.t.log.Warn().Msg("the broker has not answered yet what was asked before a call; no call follows, and it is left behind")
}
