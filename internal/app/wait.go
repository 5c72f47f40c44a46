package app

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// waitLook is how often Wait looks for itself: a message that it listens to can be
// lost.
const waitLook = 2 * time.Second

// Wait returns what became of a version of a key as soon as it has an outcome. It
// ends with ctx, whose error it returns then, or with channels.ErrNotFound.
func (c *Client) Wait(ctx context.Context, channel, key string, version versioning.Version) (events.Ack, error) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return events.Ack{}, fmt.Errorf("%w: key: %w", events.ErrInvalidUpdate, err)
	}
	entries, err := c.channels(ctx, channel)
	if err != nil {
		return events.Ack{}, err
	}
	records, err := c.Records(ctx)
	if err != nil {
		return events.Ack{}, err
	}
	news := make(chan *nats.Msg, 16) // one that finds no room is dropped; the others tell the same
	sub, err := c.conn.ChanSubscribe(c.Names.LedgerSubject(channel, enc), news)
	if err != nil {
		return events.Ack{}, fmt.Errorf("listen for the outcome: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only with the connection
	tick := time.NewTicker(waitLook)
	defer tick.Stop()
	tag := versioning.Tag{Version: version}
	for {
		rec, err := records.Get(ctx, entries[0], key)
		if err == nil {
			if s, ok := rec.OutcomeOf(tag); ok {
				return events.NewAck(channel, key, s), nil
			}
		} else if !events.IsUnavailable(err) {
			return events.Ack{}, err
		}
		select {
		case <-ctx.Done():
			return events.Ack{}, ctx.Err()
		case <-news: // on its way into the ledger, and in the log already
		case <-tick.C:
		}
	}
}
