package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
)

// ledgerRetry is how long a lane waits when the ledger could not be read.
const ledgerRetry = time.Second

// codeFenced is the code of an attempt that was not made.
const codeFenced = "fenced"

// errNoCall: the target has heard nothing of the attempt.
var errNoCall = errors.New("no call was made: the partition's lease is over")

// A workspace is memory that one call after the other uses.
type workspace struct {
	keys     []*ledger.Key
	lanes    []*lanes.Lane // that need a call, and the heads of these
	items    []*lanes.Item
	attempts []connectors.Attempt
	letters  []lanes.Letter
	again    []lanes.Repeat
}

// clear lets go of what the last call was about.
func (w *workspace) clear() {
	clear(w.keys)
	clear(w.lanes)
	clear(w.items)
	clear(w.attempts)
	clear(w.letters)
	clear(w.again)
}

// deliver makes one attempt for the head of each lane, none of which is in
// flight anywhere else.
func (c *caller) deliver(batch []*lanes.Lane, probe bool, room *workspace) {
	t, g := c.t, c.t.p.r.gate
	room.keys = c.keysOf(batch, room.keys[:0])
	err := t.view.Load(t.ctx, room.keys)
	t.p.sight.hinder(readLedger, err)
	if err != nil {
		t.log.Warn().Err(err).Msg("read the ledger; nothing is delivered without it")
		g.Withdraw(probe)
		t.begin()
		defer t.end()
		t.lanes.Separate(batch) // it may be one record only
		t.lanes.Postpone(ledgerRetry, batch...)
		return
	}
	c.judge(batch, room)
	c.loadPayloads(room)
	if len(room.lanes) == 0 {
		g.Withdraw(probe)
		return
	}
	room.attempts = room.attempts[:0]
	for _, it := range room.items {
		room.attempts = append(room.attempts, connectors.Attempt{
			Update: it.Update, Digest: it.Tag.Digest, Number: it.Tries.Made + 1, Again: !it.Live(),
			Refs: it.Refs, Unsure: it.Unsure, Held: it.Has,
		})
	}
	started := time.Now()
	if probe {
		c.prepareProbe()
	}
	ctx, cancelCall := context.WithTimeout(t.ctx, t.p.r.entry.Config.Timeout.D())
	defer cancelCall()
	spans := t.p.startSpans(t.ctx, room.items, room.attempts)
	results := c.call(ctx, room.attempts)
	took := time.Since(started)
	endSpans(spans, results)
	for i, l := range room.lanes {
		c.conclude(l, room.items[i], results[i], probe && i == 0, took, room)
	}
}

// keysOf appends the keys whose records decide about the heads of lanes to keys. A
// malformed update needs no record, and its key may be none.
func (c *caller) keysOf(batch []*lanes.Lane, keys []*ledger.Key) []*ledger.Key {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	for _, l := range batch {
		if l.Head().Malformed == nil {
			keys = append(keys, l.Key())
		}
	}
	return keys
}

// judge settles what needs no call, and puts the lanes and items that need one into room.
func (c *caller) judge(batch []*lanes.Lane, room *workspace) {
	t := c.t
	room.lanes, room.items = room.lanes[:0], room.items[:0]
	var ended []*lanes.Item
	t.begin()
	for _, l := range batch {
		it := l.Head()
		var step lanes.Step
		t.view.Read(l.Key(), func(rec *wire.Record) { step = t.lanes.Judge(l, rec) })
		switch {
		case step == lanes.Calls:
			room.lanes, room.items = append(room.lanes, l), append(room.items, it)
		case step == lanes.Forgotten && !it.Reset:
			ended = append(ended, it)
		}
	}
	c.takeErrands(room)
	t.end()
	for _, it := range ended {
		t.log.Info().Str("key", it.Update.Key).Stringer("version", it.Tag.Version).Uint64("sequence", it.Seq).
			Msg("an update came again that ended before; it is dropped")
	}
	c.runErrands(room)
}

// loadPayloads reads the content of parked updates, and leaves those out for
// which that fails.
func (c *caller) loadPayloads(room *workspace) {
	n := 0
	for i, it := range room.items {
		if it.Parked == 0 || c.loadedPayload(room.lanes[i], it, room) {
			room.lanes[n], room.items[n] = room.lanes[i], it
			n++
		}
	}
	room.lanes, room.items = room.lanes[:n], room.items[:n]
	c.runErrands(room)
}

// loadedPayload reads the content of a parked update, and reports whether it is there.
func (c *caller) loadedPayload(l *lanes.Lane, it *lanes.Item, room *workspace) bool {
	t := c.t
	newer, err := c.overtaken(l, it)
	if err == nil && !newer {
		err = t.contents.loadPayload(t.ctx, it)
	}
	lost := errors.Is(err, parking.ErrLost)
	if lost {
		t.p.sight.hinder(readParked, nil) // it can be read that it is gone
	} else {
		t.p.sight.hinder(readParked, err)
	}
	if err == nil && !newer {
		return true
	}
	if err != nil && !lost {
		t.log.Warn().Err(err).Str("key", it.Update.Key).Msg("the update is tried again")
	}
	t.begin()
	defer t.end()
	switch {
	case newer:
		t.lanes.Overtaken(l, ledgerRetry)
	case lost:
		t.lanes.Lost(l, err.Error())
		c.takeErrands(room)
	default:
		t.lanes.Postpone(ledgerRetry, l)
	}
	return false
}

// overtaken reports whether the stream of a latest channel has a newer version than a parked
// update that a former owner has left: that one may have been brought to the target by an
// owner that died before it could say so, and it comes and supersedes the parked one. An
// owner need not look twice: what is published later is its own to bring.
func (c *caller) overtaken(l *lanes.Lane, it *lanes.Item) (bool, error) {
	t := c.t
	if !t.latest() || !it.Rim.Older {
		return false, nil
	}
	subject := wire.StoredUpdate(t.b.names, t.route, l.Key().Encoded())
	head, err := wire.ReadFromLeader(t.ctx, t.b.js, t.stream, wire.MessageQuery{LastOn: subject})
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, fmt.Errorf("look for a newer version than the parked one: %w", err)
	}
	if err == nil {
		if u, err := wire.Decode(t.b.names, head.Subject, head.Header, head.Data); err == nil {
			if order, err := it.Tag.Version.Compare(u.Version); err == nil && order < 0 {
				return true, nil
			}
		}
	}
	it.Rim.Older = false
	return false, nil
}

// prepareProbe counts a probe and, from time to time, opens the connector anew for it: the
// secrets may have changed since, in whatever way, and a probe is the pace at which they
// are read again.
func (c *caller) prepareProbe() {
	t, r := c.t, c.t.p.r
	r.stats.add(r.entry.Config.Name, func(s *ChannelStats) { s.Probes++ })
	if !r.gate.Freshen() {
		return
	}
	ctx, cancel := context.WithTimeout(t.ctx, r.entry.Config.Timeout.D())
	defer cancel()
	err := r.target.renew(ctx)
	if r.gate.Note(err) && err != nil {
		t.log.Warn().Err(err).Msg("the connector cannot be opened anew for a probe; the one that is open is used further")
	}
}

// call runs the connector. Whatever it does, there is one result per attempt.
func (c *caller) call(ctx context.Context, attempts []connectors.Attempt) (results []connectors.Result) {
	t := c.t
	// Guarantee 2: no call begins without the lease, however long this process
	// was frozen. The context ends with the lease, too.
	if !t.p.lease.Alive() || ctx.Err() != nil {
		return slices.Repeat([]connectors.Result{connectors.Failed(connectors.Transient, codeFenced, errNoCall)}, len(attempts))
	}
	name := t.p.r.entry.Config.Name
	t.p.r.stats.add(name, func(s *ChannelStats) { s.Attempts += uint64(len(attempts)) })
	broken := func(format string, args ...any) []connectors.Result {
		err := fmt.Errorf(format, args...)
		t.log.Error().Err(err).Int("updates", len(attempts)).Msg("connector misbehaved")
		out := make([]connectors.Result, len(attempts))
		for i := range out {
			out[i] = connectors.Failed(connectors.Transient, lanes.CodeFault, err)
		}
		return out
	}
	defer func() {
		if p := recover(); p != nil {
			results = broken("connector panicked: %v", p)
		}
	}()
	c.atTarget.Add(1)
	defer c.atTarget.Add(-1)
	if !t.p.r.target.use(func(conn connectors.Sender) { results = conn.Apply(ctx, attempts) }) {
		return slices.Repeat([]connectors.Result{connectors.Failed(connectors.Transient, codeFenced, errNoCall)}, len(attempts))
	}
	if len(results) != len(attempts) {
		return broken("connector returned %d results for %d updates", len(results), len(attempts))
	}
	if len(t.p.r.entry.Config.Redact) > 0 {
		hideAnswers(results)
	}
	return results
}

// answerHidden stands where a target's answer is hidden.
const answerHidden = "(hidden: the channel names fields that nobody sees, and an answer may repeat them)"

// hideAnswers hides what the target has said: many repeat what they refuse, and the answer is
// stored, and told to whoever may see errors.
func hideAnswers(results []connectors.Result) {
	for i := range results {
		if results[i].Response != "" {
			results[i].Response = answerHidden
		}
	}
}
