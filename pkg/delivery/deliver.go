package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// ledgerRetry is how long a lane waits when the ledger could not be read.
	ledgerRetry = time.Second
)

// errNoCall: the target has heard nothing of the attempt.
var errNoCall = errors.New("no call was made: the partition's lease is over")

// A workspace is memory that one call after the other uses.
type workspace struct {
	keys      []*ledger.Key
	heads     []*item
	decisions []decision
	lanes     []*lane // that need a call, and the heads of these
	items     []*item
	attempts  []connectors.Attempt
}

// clear lets go of what the last call was about.
func (w *workspace) clear() {
	clear(w.keys)
	clear(w.heads)
	clear(w.decisions)
	clear(w.lanes)
	clear(w.items)
	clear(w.attempts)
}

// deliver makes one attempt for the head of each lane, none of which is in
// flight anywhere else.
func (t *tenure) deliver(batch []*lane, probe bool, room *workspace) {
	g := t.p.r.gate
	room.keys = t.keysOf(batch, room.keys[:0])
	err := t.view.Load(t.ctx, room.keys)
	t.p.sight.hinder(readLedger, err)
	if err != nil {
		t.log.Warn().Err(err).Msg("read the ledger; nothing is delivered without it")
		g.Withdraw(probe)
		t.separate(batch) // it may be one record only
		t.retryAll(batch, ledgerRetry)
		return
	}
	t.judgeAll(batch, room)
	calls, items := room.lanes, room.items
	if len(calls) == 0 {
		g.Withdraw(probe)
		return
	}
	if calls, items = t.loadPayloads(calls, items); len(calls) == 0 {
		g.Withdraw(probe)
		return
	}
	attempts := room.attempts[:0]
	for _, it := range items {
		attempts = append(attempts, connectors.Attempt{Update: it.u, Digest: it.tag.Digest, Number: it.attempts + 1, Again: it.replay || it.resync != nil})
	}
	room.attempts = attempts
	started := time.Now()
	if probe {
		t.p.r.stats.add(t.p.r.entry.Config.Name, func(s *ChannelStats) { s.Probes++ })
	}
	if probe && g.Freshen() {
		// The secrets may have changed since, in whatever way: a probe is the pace at
		// which they are read again.
		ctx, cancel := context.WithTimeout(t.ctx, t.p.r.entry.Config.Timeout.D())
		err := t.p.r.target.renew(ctx)
		cancel()
		if g.Note(err) && err != nil {
			t.log.Warn().Err(err).Msg("the connector cannot be opened anew for a probe; the one that is open is used further")
		}
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

// keysOf appends the keys whose records decide about the heads of lanes to keys. A
// malformed update needs no record, and its key may be none.
func (t *tenure) keysOf(batch []*lane, keys []*ledger.Key) []*ledger.Key {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range batch {
		if l.queue[0].malformed == nil {
			keys = append(keys, l.pinned)
		}
	}
	return keys
}

// loadPayloads reads the content of parked updates, and leaves those out for
// which that fails.
func (t *tenure) loadPayloads(lanes []*lane, items []*item) ([]*lane, []*item) {
	outLanes, outItems := lanes[:0], items[:0]
	for i, it := range items {
		if it.parked == 0 {
			outLanes, outItems = append(outLanes, lanes[i]), append(outItems, it)
			continue
		}
		err := t.loadPayload(t.ctx, it)
		lost := errors.Is(err, parking.ErrLost)
		if lost {
			t.p.sight.hinder(readParked, nil) // it can be read that it is gone
		} else {
			t.p.sight.hinder(readParked, err)
		}
		switch {
		case err == nil:
			outLanes, outItems = append(outLanes, lanes[i]), append(outItems, it)
		case lost:
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
	if !t.p.lease.Alive() || ctx.Err() != nil {
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
	t.atTarget.Add(1)
	defer t.atTarget.Add(-1)
	if !t.p.r.target.use(func(c connectors.Connector) { results = c.Apply(ctx, attempts) }) {
		return slices.Repeat([]connectors.Result{connectors.Failed(connectors.Transient, codeFenced, errNoCall)}, len(attempts))
	}
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

// judgeAll settles what needs no call, and puts the lanes and items that need one
// into room.
func (t *tenure) judgeAll(batch []*lane, room *workspace) {
	t.judgeHeads(batch, room)
	room.lanes, room.items = room.lanes[:0], room.items[:0]
	for i, l := range batch {
		it, d := room.heads[i], &room.decisions[i]
		switch d.what {
		case doCall:
			room.lanes, room.items = append(room.lanes, l), append(room.items, it)
		case doAckAgain: // guarantee 3: one outcome, however often it comes
			t.settleAgain(l, it, d.settlement)
		case doSettle:
			t.settleAs(l, it, d.settlement, connectors.Result{})
		case doSkip:
			t.mu.Lock()
			t.endResync(it, &it.resync.report.Skipped)
			t.settled(l)
			t.mu.Unlock()
		case doForget:
			t.forget(l, it)
		case doWait:
		}
	}
}

func (t *tenure) judgeHeads(batch []*lane, room *workspace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	room.heads, room.decisions = room.heads[:0], room.decisions[:0]
	for _, l := range batch {
		it := l.queue[0]
		room.heads = append(room.heads, it)
		var d decision
		var wait time.Duration
		t.view.Read(l.pinned, func(rec *events.Record) {
			if wait = t.resume(it, rec); wait <= 0 {
				d = judge(it, rec, t.latest(), t.b.incarnation)
			}
		})
		if wait > 0 {
			t.retryLater(l, wait)
			d.what = doWait
		}
		room.decisions = append(room.decisions, d)
	}
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
	if t.p.afterOutage { // as everybody who waited when the target came back
		return 0
	}
	return min(time.Until(rec.NextAttempt), t.p.r.entry.Config.Retry.MaxBackoff.D())
}
