package delivery

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// What is done with an update that is done, in the order of guarantee 1: the target
// has accepted (or never will), the outcome is in the log, the ack is sent
// (reply.go), and only then JetStream is acked.

// settleAs gives the head of a lane its outcome: a dead letter is stored first,
// then the outcome goes to the log; finish does the rest.
func (t *tenure) settleAs(l *lane, it *item, s events.Settlement, res connectors.Result) {
	s.Attempts = it.attempts
	s.At = timestamp()
	e := t.entry(it, s, res)
	if s.Outcome == events.DeadLettered || s.Outcome == events.Conflict {
		if err := t.storeDead(l.key, it, e, plain.Text(res.Response, connectors.MaxResponse)); err != nil {
			t.log.Error().Err(err).Str("key", it.u.Key).Msg("store dead letter; the update is kept, and the channel waits until there is room")
			t.p.r.gate.Hold(deadRetry)
			t.retryAll([]*lane{l}, deadRetry)
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enqueueCommit(commit{entry: e, key: l.pinned, item: it, lane: l})
}

// timestamp is what records carry: UTC, milliseconds.
func timestamp() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// entry returns the log's entry of an update.
func (t *tenure) entry(it *item, s events.Settlement, res connectors.Result) events.Entry {
	if s.At.IsZero() {
		s.At = timestamp()
	}
	e := events.Entry{Key: it.u.Key, Op: it.u.Op, Settlement: s, Sequence: it.seq, Held: res.Held.Version}
	if it.u.ReplyTo != "" && s.Outcome.Final() {
		if t.b.names.ReplyAllowed(it.u.ReplyTo) {
			e.ReplyTo, e.ReplyLines = it.u.ReplyTo, it.u.ReplyLines
		} else if !it.refused {
			it.refused = true
			t.p.r.stats.add(t.p.r.entry.Config.Name, func(s *ChannelStats) { s.RepliesRefused++ })
			t.log.Warn().Str("key", it.u.Key).Msg("ack is not sent: the reply subject is neither an inbox nor a service's")
		}
	}
	return e
}

// settleAgain repeats the ack of an update whose outcome is in the log already.
func (t *tenure) settleAgain(l *lane, it *item, s events.Settlement) {
	e := t.entry(it, s, connectors.Result{})
	err := t.replyAll(t.ctx, []events.Entry{e})
	t.p.sight.hinder(repeatAck, err)
	if err != nil {
		t.log.Warn().Err(err).Str("key", it.u.Key).Msg("the ack is sent again later")
		t.retryAll([]*lane{l}, ledgerRetry)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.finish(it)
	t.settled(l)
}

// forget lets go of the head of a lane that needs no outcome: it is the mark of a
// reset, or an update that ended before and that the broker has brought back.
func (t *tenure) forget(l *lane, it *item) {
	if !it.reset {
		t.log.Info().Str("key", it.u.Key).Stringer("version", it.tag.Version).Uint64("sequence", it.seq).
			Msg("an update came again that ended before; it is dropped")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if it.resync != nil {
		t.endResync(it, &it.resync.report.Skipped)
	} else {
		t.finish(it)
	}
	t.settled(l)
}

// finishAll follows a commit whose acks are out: JetStream acks, then the lanes
// go on. at is the place of the group in the log.
func (t *tenure) finishAll(commits []commit, at events.LogPosition) {
	defer func() { // not under mu
		for i := range commits {
			if committed := commits[i].committed; committed != nil {
				committed()
			}
		}
	}()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.view.Group(at, func(g ledger.Group) {
		for i := range commits {
			c := &commits[i]
			before := g.Apply(c.key, &c.entry)
			if rec, key := g.Record(c.key), c.key.Encoded(); resolves(c, rec, before, t.letters.Knows(key)) {
				t.letters.Settled(key, rec)
			}
		}
	})
	for i := range commits {
		c := &commits[i]
		t.view.Unpin(c.key)
		if c.item == nil {
			continue
		}
		t.unsettled--
		t.finish(c.item)
		if c.lane != nil {
			t.settled(c.lane)
		}
	}
	t.ackedSeq = at.Seq
	t.checkIdle()
	t.countOutcomes(commits)
}

// finish settles an update at the broker and lets it go. The caller holds mu.
func (t *tenure) finish(it *item) {
	if it.resync != nil {
		t.endResync(it, &it.resync.report.Delivered)
		return
	}
	if t.held[it.where()] != it {
		return // let go when the tenure ended
	}
	delete(t.held, it.where())
	if it.parked > 0 {
		t.dropKept(it)
		t.deleteParked(it.parked)
		return
	}
	t.leaveHand(it)
}

// leaveHand lets go of an update that is settled, or that the parked stream has.
// The caller holds mu.
func (t *tenure) leaveHand(it *item) {
	t.settleMessage(it.msg, it.seq)
	t.lastMsg = it.msg
	t.floor.Done(it.seq)
	t.share.Give(it.size)
	t.inHand--
	t.view.Stir() // the floor may have moved, and the message waits for the ledger
	signal(t.wakePull)
}

// unackedMost bounds the messages of a work queue that are settled and wait for the
// ledger; then it is written at once.
const unackedMost = 16 << 10

// settleMessage has JetStream told that a message is settled, where that matters: once the
// ledger has its outcome, with the next flush. Publishers guard a key against its newest message, else against
// the ledger, and must find it in one of the two (docs/adr/0039). The caller holds mu.
func (t *tenure) settleMessage(msg jetstream.Msg, seq uint64) {
	if t.latest() {
		return
	}
	t.unacked[seq] = msg.Reply()
	if len(t.unacked) == unackedMost {
		t.view.Ask(func(error) {})
	}
}

// ackAll tells JetStream of settled messages. What is lost comes again and is recognised.
func (t *tenure) ackAll(replies map[uint64]string) {
	for _, reply := range replies {
		if err := t.b.js.Conn().Publish(reply, ackBody); err != nil {
			t.log.Debug().Err(err).Msg("ack")
			return
		}
	}
}

// ackBody is what JetStream takes for an ack.
var ackBody = []byte("+ACK") //nolint:gochecknoglobals // a constant

func (t *tenure) countOutcomes(commits []commit) {
	t.p.r.stats.add(t.p.r.entry.Config.Name, func(s *ChannelStats) {
		for i := range commits {
			c := &commits[i]
			if c.item == nil {
				continue
			}
			if c.item.resync != nil {
				s.Resynced++
				continue
			}
			s.Outcomes[c.entry.Outcome]++
			if c.entry.Code == codeMalformed {
				s.Malformed++
			}
		}
	})
}

// resolves reports whether a committed outcome may have settled dead letters of
// its key. rec is the record with the outcome, applied what the target held
// before, lettered whether the key is known to have letters.
func resolves(c *commit, rec *events.Record, applied versioning.Version, lettered bool) bool {
	if c.item != nil && (c.item.replay || c.item.resync != nil) {
		return true
	}
	if lettered && (c.entry.Outcome == events.Delivered || c.entry.Outcome == events.Superseded || c.item != nil && c.item.lettered) {
		return true
	}
	if c.entry.Outcome != events.Delivered {
		return false
	}
	for _, s := range rec.Recent {
		if (s.Outcome == events.DeadLettered || s.Outcome == events.Conflict) && !isOlder(s.Version, applied) {
			return true
		}
	}
	return false
}

// recordOf returns a copy of the record of a key.
func (t *tenure) recordOf(ctx context.Context, key string) (events.Record, error) {
	k := t.view.Pin(key)
	defer t.view.Unpin(k)
	if err := t.view.Load(ctx, []*ledger.Key{k}); err != nil {
		return events.Record{}, err
	}
	var out events.Record
	t.view.Read(k, func(rec *events.Record) {
		out = *rec
		out.Recent = slices.Clone(rec.Recent)
	})
	return out, nil
}
