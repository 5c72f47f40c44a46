package delivery

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/ledger"
)

// What is done with an update that is done, in the order of guarantee 1: the target
// has accepted (or never will), a dead letter is stored, the outcome is in the log
// (commit.go), the ack is sent (reply.go), and only then JetStream is acked (flush.go).

// takeErrands takes over what the lanes want done that takes a while, and that their lanes
// wait for. The caller stands between begin and end.
func (c *caller) takeErrands(room *workspace) {
	room.letters, room.again = c.t.lanes.Todo().TakeErrands(room.letters, room.again)
}

// runErrands does it.
func (c *caller) runErrands(room *workspace) {
	for i := range room.letters {
		c.storeLetter(&room.letters[i])
	}
	for i := range room.again {
		c.sendAgain(&room.again[i])
	}
	clear(room.letters)
	clear(room.again)
	room.letters, room.again = room.letters[:0], room.again[:0]
}

// storeLetter stores a dead letter; then its outcome goes to the log.
func (c *caller) storeLetter(l *lanes.Letter) {
	t := c.t
	err := letterbox{t}.store(l.Lane.Key().Encoded(), l.Item, &l.Entry, l.Response)
	switch {
	case errors.Is(err, errQuotaFull): // other keys need no room there
		t.log.Error().Err(err).Str("key", l.Item.Update.Key).Msg("store dead letter; the update is kept, and its key waits until there is room")
	case err != nil:
		t.log.Error().Err(err).Str("key", l.Item.Update.Key).Msg("store dead letter; the update is kept, and the channel waits until there is room")
		t.p.r.gate.Hold(deadRetry)
	}
	t.begin()
	defer t.end()
	if err != nil {
		t.lanes.Unstored(l, deadRetry)
	} else {
		t.lanes.Stored(l)
	}
}

// sendAgain repeats the ack of an update whose outcome is in the log already.
func (c *caller) sendAgain(r *lanes.Repeat) {
	t := c.t
	err := t.replies.send(t.ctx, []wire.Entry{r.Entry})
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

// recordOf returns a copy of the record of a key.
func (t *tenure) recordOf(ctx context.Context, key string) (wire.Record, error) {
	k := t.view.Pin(key)
	defer t.view.Unpin(k)
	if err := t.view.Load(ctx, []*ledger.Key{k}); err != nil {
		return wire.Record{}, err
	}
	var out wire.Record
	t.view.Read(k, func(rec *wire.Record) {
		out = *rec
		out.Recent = slices.Clone(rec.Recent)
	})
	return out, nil
}
