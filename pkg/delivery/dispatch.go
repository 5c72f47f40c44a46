package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// ledgerRetry is how long a lane waits when the ledger could not be read.
	ledgerRetry = time.Second
	// readPatience bounds a read before a call.
	readPatience = 10 * time.Second
)

// errNoCall: the target has heard nothing of the attempt.
var errNoCall = errors.New("no call was made: the partition's lease is over")

// dispatch starts calls for ready lanes, as many at once as the channel allows,
// until ctx ends.
func (t *tenure) dispatch(ctx context.Context) {
	g := t.p.r.gate
	g.watch(t)
	defer g.unwatch(t)
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
	r := t.p.r
	for {
		batch, probe, wait := t.nextBatch(ctx)
		if len(batch) == 0 {
			return wait
		}
		t.calls.Add(1)
		r.calls.Add(1)
		go func() {
			defer r.calls.Done()
			defer t.calls.Done()
			t.deliverOn(ctx, batch, probe)
		}()
	}
}

// deliverOn delivers a batch and then, in its place among the calls in flight, the
// next ones as long as there are any: a goroutine for each call would have to grow
// its stack and to be woken by the dispatcher each time.
func (t *tenure) deliverOn(ctx context.Context, batch []*lane, probe bool) {
	for len(batch) > 0 {
		t.deliver(batch, probe)
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
	if ctx.Err() != nil || t.refreshing || len(t.ready)+len(t.readyLow) == 0 || t.inFlight >= r.callLimit() || !t.p.lease.alive() {
		return nil, false, 0
	}
	n, probe, wait := r.gate.admit(r.maxBatch)
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

// deliver makes one attempt for the head of each lane, none of which is in
// flight anywhere else.
func (t *tenure) deliver(batch []*lane, probe bool) {
	gate := t.p.r.gate
	if err := t.view.load(t.ctx, t.statesOf(batch)); err != nil {
		t.log.Warn().Err(err).Msg("read the ledger; nothing is delivered without it")
		gate.withdraw(probe)
		t.separate(batch) // it may be one record only
		t.retryAll(batch, ledgerRetry)
		return
	}
	calls, items := t.judgeAll(batch)
	if len(calls) == 0 {
		gate.withdraw(probe)
		return
	}
	if calls, items = t.loadPayloads(calls, items); len(calls) == 0 {
		gate.withdraw(probe)
		return
	}
	attempts := make([]connectors.Attempt, len(items))
	for i, it := range items {
		attempts[i] = connectors.Attempt{Update: it.u, Digest: it.tag.Digest, Number: it.attempts + 1, Again: it.replay || it.resync != nil}
	}
	started := time.Now()
	if probe {
		t.p.r.stats.add(t.p.r.entry.Config.Name, func(s *ChannelStats) { s.Probes++ })
	}
	ctx, cancelCall := context.WithTimeout(t.ctx, t.p.r.entry.Config.Timeout.D())
	defer cancelCall()
	spans := t.startSpans(items, attempts)
	results := t.call(ctx, attempts)
	took := time.Since(started)
	endSpans(spans, results)
	for i, l := range calls {
		t.conclude(l, items[i], results[i], probe && i == 0, took)
	}
}

// statesOf returns what decides about the heads of lanes. A malformed update needs
// no record, and its key may be none.
func (t *tenure) statesOf(batch []*lane) []*keyState {
	t.mu.Lock()
	defer t.mu.Unlock()
	states := make([]*keyState, 0, len(batch))
	for _, l := range batch {
		if l.queue[0].malformed == nil {
			states = append(states, l.state)
		}
	}
	return states
}

// loadPayloads reads the content of parked updates, and leaves those out for
// which that fails.
func (t *tenure) loadPayloads(lanes []*lane, items []*item) ([]*lane, []*item) {
	outLanes, outItems := lanes[:0], items[:0]
	for i, it := range items {
		err := t.loadPayload(t.ctx, it)
		switch {
		case err == nil:
			outLanes, outItems = append(outLanes, lanes[i]), append(outItems, it)
		case errors.Is(err, errParkedLost):
			d := settle(it, events.DeadLettered, connectors.Permanent, codeParkedLost, err.Error())
			t.settleAs(lanes[i], it, d.settlement, connectors.Result{})
		default:
			t.log.Warn().Err(err).Str("key", it.u.Key).Msg("the update is tried again")
			t.retryAll(lanes[i:i+1], ledgerRetry)
		}
	}
	return outLanes, outItems
}

// separate lets the heads of a batch go alone from now on.
func (t *tenure) separate(batch []*lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range batch {
		l.queue[0].alone = l.queue[0].alone || len(batch) > 1
	}
}

func (t *tenure) retryAll(batch []*lane, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range batch {
		t.retryLater(l, wait)
	}
}

// call runs the connector. Whatever it does, there is one result per attempt.
func (t *tenure) call(ctx context.Context, attempts []connectors.Attempt) (results []connectors.Result) {
	// Guarantee 2: no call begins without the lease, however long this process
	// was frozen. The context ends with the lease, too.
	if !t.p.lease.alive() || ctx.Err() != nil {
		return slices.Repeat([]connectors.Result{connectors.Failed(connectors.Transient, codeFenced, errNoCall)}, len(attempts))
	}
	name := t.p.r.entry.Config.Name
	t.p.r.stats.add(name, func(s *ChannelStats) { s.Attempts += uint64(len(attempts)) })
	broken := func(code, format string, args ...any) []connectors.Result {
		err := fmt.Errorf(format, args...)
		t.log.Error().Err(err).Int("updates", len(attempts)).Msg("connector misbehaved")
		out := make([]connectors.Result, len(attempts))
		for i := range out {
			out[i] = connectors.Failed(connectors.Transient, code, err)
		}
		return out
	}
	defer func() {
		if p := recover(); p != nil {
			results = broken(codePanic, "connector panicked: %v", p)
		}
	}()
	results = t.p.r.conn.Apply(ctx, attempts)
	if len(results) != len(attempts) {
		return broken(codePanic, "connector returned %d results for %d updates", len(results), len(attempts))
	}
	return results
}

// Codes of failures that are ours, not the target's.
const (
	codePanic  = "connector_fault"
	codeFenced = "fenced"
)

// judgeAll settles what needs no call, and returns the lanes and items that need
// one.
func (t *tenure) judgeAll(batch []*lane) (calls []*lane, items []*item) {
	heads, decisions := t.judgeHeads(batch)
	for i, l := range batch {
		it, d := heads[i], decisions[i]
		switch d.what {
		case doCall:
			calls, items = append(calls, l), append(items, it)
		case doAckAgain: // guarantee 3: one outcome, however often it comes
			t.settleAgain(l, it, d.settlement)
		case doSettle:
			t.settleAs(l, it, d.settlement, connectors.Result{})
		case doSkip:
			t.mu.Lock()
			t.endResync(it, &it.resync.report.Skipped)
			t.settled(l)
			t.mu.Unlock()
		case doWait:
		}
	}
	return calls, items
}

func (t *tenure) judgeHeads(batch []*lane) ([]*item, []decision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	heads, decisions := make([]*item, len(batch)), make([]decision, len(batch))
	for i, l := range batch {
		it := l.queue[0]
		heads[i] = it
		rec := t.view.record(l.state)
		if wait := t.resume(it, rec); wait > 0 {
			t.retryLater(l, wait)
			decisions[i] = decision{what: doWait}
			continue
		}
		decisions[i] = judge(it, rec, t.latest())
	}
	return heads, decisions
}

// resume takes over the attempts that a former owner has spent on the update,
// and returns how long its next attempt has still to wait. The caller holds mu.
func (t *tenure) resume(it *item, rec *events.Record) time.Duration {
	if it.resumed {
		return 0
	}
	it.resumed = true
	if it.resync != nil || rec.State == events.StateSettled || rec.Pending != it.tag {
		return 0
	}
	it.attempts, it.trying = rec.Attempts, time.Duration(rec.TryingMS)*time.Millisecond
	return min(time.Until(rec.NextAttempt), t.p.r.entry.Config.Retry.MaxBackoff.D())
}
