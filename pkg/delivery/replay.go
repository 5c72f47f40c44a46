package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/events"
)

// replayWait is how long an answer waits for the end of a replay, which may be tried a few
// times, or wait for the target.
const replayWait = 10 * time.Second

// replay sends the update of a dead letter again, and answers with what came of it, or that
// it is still being tried.
func (c control) replay(msg *nats.Msg, letter uint64) {
	t := c.t
	ctx, cancel := context.WithTimeout(t.ctx, replayWait)
	defer cancel()
	said := channels.Replayed{Worker: t.p.r.worker}
	ended, err := c.begin(ctx, letter)
	if err != nil {
		c.answer(msg, err)
		return
	}
	if ended == nil {
		said.Yields = true
	} else {
		select {
		case r := <-ended:
			said.Outcome, said.By, said.Failure, said.Yields = r.Settled.Outcome, r.Settled.By, r.Failure, r.Yields
			said.GivenBack = said.Outcome == "" && said.Failure == nil && !said.Yields
		case <-ctx.Done():
			said.UnderWay, said.GivenBack = t.ctx.Err() == nil, t.ctx.Err() != nil
		}
	}
	c.respond(msg, channels.ControlReply{Replayed: &said})
}

// begin puts a letter's update into its lane. What comes of it is heard on ended, which is
// nil if something else of the key is in hand.
func (c control) begin(ctx context.Context, letter uint64) (ended <-chan lanes.Replayed, err error) {
	t := c.t
	l, err := t.b.letters.Get(ctx, letter)
	if err != nil {
		return nil, err
	}
	switch {
	case l.State != deadletters.StateOpen || l.Malformed != "":
		return nil, fmt.Errorf("dead letter %d is %s: it cannot be sent again", letter, l.State)
	case l.Channel != t.p.r.entry.Config.Name || events.Partition(l.EncodedKey, t.p.r.entry.Config.Partitions) != t.p.index:
		return nil, fmt.Errorf("dead letter %d is of another partition", letter)
	}
	now := time.Now()
	it := &lanes.Item{Update: l.Update, Tag: l.Update.Tag(), Came: now, Published: now, Size: len(l.Update.Payload) + heldBytes}
	if err := t.share.Take(ctx, it.Size); err != nil {
		return nil, fmt.Errorf("there is no room for it: %w", err)
	}
	last, err := events.ReadFromLeader(ctx, t.b.js, t.stream, events.MessageQuery{LastOn: t.b.names.StoredUpdate(l.Channel, l.EncodedKey)})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		last, err = &jetstream.RawStreamMsg{}, nil
	}
	if err != nil {
		t.share.Give(it.Size)
		return nil, err
	}
	heard := make(chan lanes.Replayed, 1)
	it.Rim.Replayed = func(r lanes.Replayed) { heard <- r }
	key := t.view.Pin(l.EncodedKey)
	t.begin()
	defer t.end()
	if !t.lanes.Replay(it, key, last.Sequence) {
		return nil, nil //nolint:nilnil // nothing is to be heard
	}
	return heard, nil
}
