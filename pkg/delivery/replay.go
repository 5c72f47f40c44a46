package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
)

// replayWait is for how long a replay is tried, or waits for the target.
const replayWait = 10 * time.Second

// replay sends the update of a dead letter again, and answers with what came of it. What is
// not in flight when the time is over is taken back: nothing may come to the target once
// whoever asked has discarded the letter.
func (c control) replay(msg *nats.Msg, letter uint64) {
	t := c.t
	ctx, cancel := context.WithTimeout(t.ctx, replayWait)
	defer cancel()
	it, err := c.admit(ctx, letter)
	if err != nil {
		c.answer(msg, err)
		return
	}
	said := channels.Replayed{Worker: t.p.r.worker, Gone: it == nil}
	if it != nil {
		c.attempt(ctx, it, &said)
	}
	c.respond(msg, channels.ControlReply{Replayed: &said})
}

// admit reads a letter and takes room for its update. It returns nil if the letter is gone,
// or settled.
func (c control) admit(ctx context.Context, letter uint64) (*lanes.Item, error) {
	t, e := c.t, &c.t.p.r.entry
	l, err := t.b.letters.Get(ctx, letter)
	switch {
	case errors.Is(err, deadletters.ErrNotFound):
		return nil, nil //nolint:nilnil // it is gone
	case err != nil:
		return nil, err
	case l.Channel != e.Config.Name || wire.Partition(l.EncodedKey, e.Config.Partitions) != t.p.index:
		return nil, fmt.Errorf("dead letter %d is of another partition", letter)
	case l.State == deadletters.StatePending || l.Malformed != "":
		return nil, fmt.Errorf("dead letter %d cannot be sent again now", letter)
	case l.State != deadletters.StateOpen:
		return nil, nil //nolint:nilnil // it is settled
	}
	now := time.Now()
	it := &lanes.Item{Update: l.Update, Tag: l.Update.Tag(), Came: now, Published: now, Size: len(l.Update.Payload) + heldBytes}
	if err := t.share.Take(ctx, it.Size); err != nil {
		return nil, fmt.Errorf("there is no room for it: %w", err)
	}
	if counts, err := t.b.letters.Counts(ctx, letter); err != nil || !counts { // it may have waited for room
		t.share.Give(it.Size)
		return nil, err
	}
	return it, nil
}

// attempt puts an update that has its room into the lane of its key, and says what came of
// it.
func (c control) attempt(ctx context.Context, it *lanes.Item, said *channels.Replayed) {
	t := c.t
	enc, _ := events.EncodeKey(it.Update.Key) // it was decoded from one
	last, err := wire.ReadFromLeader(ctx, t.b.js, t.stream, wire.MessageQuery{LastOn: wire.StoredUpdate(t.b.names, t.route, enc)})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		last, err = &jetstream.RawStreamMsg{}, nil
	}
	if err != nil {
		t.share.Give(it.Size)
		said.Failure = &events.Failure{Class: connectors.Transient.String(), Message: plain.Text(err.Error(), events.MaxMessageLen)}
		return
	}
	ended := make(chan lanes.Replayed, 1)
	it.Rim.Replayed = func(r lanes.Replayed) { ended <- r }
	if !c.enter(it, enc, last.Sequence) {
		said.Yields = true
		return
	}
	select {
	case r := <-ended:
		said.Outcome, said.By, said.Failure, said.Yields = r.Settled.Outcome, r.Settled.By, r.Failure, r.Yields
		said.GivenBack = said.Outcome == "" && said.Failure == nil && !said.Yields
	case <-ctx.Done():
		switch {
		case t.ctx.Err() != nil:
			said.GivenBack = true
		case c.withdraw(it):
			said.Failure = &events.Failure{Class: connectors.Transient.String(), Message: "the target did not take it in " + replayWait.String()}
			if _, _, why := t.p.r.gate.Status(); why != "" {
				said.Failure.Message = plain.Text(said.Failure.Message+": "+why, events.MaxMessageLen)
			}
		default:
			said.UnderWay = true // its call, or its outcome, is on its way
		}
	}
}

// enter puts it into its lane, and reports false while something else of the key goes first.
func (c control) enter(it *lanes.Item, enc string, last uint64) bool {
	t := c.t
	key := t.view.Pin(enc)
	t.begin()
	defer t.end()
	return t.lanes.Replay(it, key, last)
}

// withdraw takes a replay back that is not in flight.
func (c control) withdraw(it *lanes.Item) bool {
	c.t.begin()
	defer c.t.end()
	return c.t.lanes.Withdraw(it)
}
