package delivery

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
	"github.com/hms-utl/extsync/pkg/events"
)

// What is done with an update that is done, in the order of guarantee 1: the target
// has accepted (or never will), a dead letter is stored, the outcome is in the log
// (commit.go), the ack is sent (reply.go), and only then JetStream is acked.

// takeErrands takes over what the lanes want done that takes a while, and that their lanes
// wait for. The caller stands between begin and end.
func (t *tenure) takeErrands(room *workspace) {
	room.letters, room.again = t.lanes.Todo().TakeErrands(room.letters, room.again)
}

// runErrands does it.
func (t *tenure) runErrands(room *workspace) {
	for i := range room.letters {
		t.storeLetter(&room.letters[i])
	}
	for i := range room.again {
		t.sendAgain(&room.again[i])
	}
	clear(room.letters)
	clear(room.again)
	room.letters, room.again = room.letters[:0], room.again[:0]
}

// storeLetter stores a dead letter; then its outcome goes to the log.
func (t *tenure) storeLetter(l *lanes.Letter) {
	err := t.storeDead(l.Lane.Key().Encoded(), l.Item, &l.Entry, l.Response)
	if err != nil {
		t.log.Error().Err(err).Str("key", l.Item.Update.Key).Msg("store dead letter; the update is kept, and the channel waits until there is room")
		t.p.r.gate.Hold(deadRetry)
	}
	t.begin()
	defer t.end()
	if err != nil {
		t.lanes.Postpone(deadRetry, l.Lane)
	} else {
		t.lanes.Stored(l)
	}
}

// sendAgain repeats the ack of an update whose outcome is in the log already.
func (t *tenure) sendAgain(r *lanes.Repeat) {
	err := t.replyAll(t.ctx, []events.Entry{r.Entry})
	t.p.sight.hinder(repeatAck, err)
	if err != nil {
		t.log.Warn().Err(err).Str("key", r.Item.Update.Key).Msg("the ack is sent again later")
	}
	t.begin()
	defer t.end()
	if err != nil {
		t.lanes.Postpone(ledgerRetry, r.Lane)
	} else {
		t.lanes.SentAgain(r)
	}
}

// timestamp is what records carry: UTC, milliseconds.
func timestamp() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// refused says that an update's reply subject is not allowed.
func (t *tenure) refused(it *lanes.Item) {
	t.p.r.stats.add(t.p.r.entry.Config.Name, func(s *ChannelStats) { s.RepliesRefused++ })
	t.log.Warn().Str("key", it.Update.Key).Msg("ack is not sent: the reply subject is neither an inbox nor a service's")
}

// unackedMost bounds the messages of a work queue that are settled and wait for the
// ledger; then it is written at once.
const unackedMost = 16 << 10

// acks are the messages of a work queue that are settled, and of which JetStream is told
// once the ledger has their outcomes, with the next flush. Publishers guard a key against
// its newest message, else against the ledger, and must find it in one of the two
// (docs/adr/0039).
type acks struct {
	mu      sync.Mutex
	waiting map[uint64]string // reply subjects by sequence
	last    jetstream.Msg     // for the final double ack
}

// add adds messages and reports whether the ledger is to be written at once.
func (a *acks) add(settled []lanes.Ack) (full bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = map[uint64]string{}
	}
	for _, s := range settled {
		a.waiting[s.Seq] = s.Msg.Reply()
		a.last = s.Msg
		full = full || len(a.waiting) == unackedMost
	}
	return full
}

// take takes what waits.
func (a *acks) take() map[uint64]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.waiting
	a.waiting = nil
	return taken
}

// putBack lets those wait further that were taken.
func (a *acks) putBack(taken map[uint64]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if taken == nil {
		return
	}
	maps.Copy(taken, a.waiting) // what came again since is the copy to be acked
	a.waiting = taken
}

// newest returns the message that was settled last; nil if there is none.
func (a *acks) newest() jetstream.Msg {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
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
