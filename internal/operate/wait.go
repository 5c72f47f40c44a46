package operate

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// waitLook is how often Wait looks for itself: a message that it listens to can be
// lost.
const waitLook = 2 * time.Second

// Waited is what became of a version.
type Waited struct {
	events.Ack
	// Newest is, for a version that was superseded, the newest version of the key, if that was
	// given up and the target holds an older one than was waited for. Else it is nil.
	Newest *events.Ack `json:"newest,omitempty"`
}

// Wait returns what became of a version of a key as soon as it has an outcome: one that was
// superseded once the target holds a newer one, or the newest was given up. It
// ends with ctx, whose error it returns then, or with channels.ErrNotFound.
func (c *Client) Wait(ctx context.Context, channel, key string, version versioning.Version) (Waited, error) {
	w, err := c.wait(ctx, channel, key, version)
	if err != nil && ctx.Err() != nil && !c.Conn.IsConnected() {
		err = fmt.Errorf("%w: the connection to the broker is lost: %w", events.ErrUnavailable, err)
	}
	return w, err
}

func (c *Client) wait(ctx context.Context, channel, key string, version versioning.Version) (Waited, error) {
	enc, err := events.EncodeKey(key)
	if err != nil {
		return Waited{}, fmt.Errorf("%w: key: %w", events.ErrInvalidUpdate, err)
	}
	entries, err := c.channels(ctx, channel)
	if err != nil {
		return Waited{}, err
	}
	records, err := c.Records(ctx)
	if err != nil {
		return Waited{}, err
	}
	news := make(chan *nats.Msg, 16) // one that finds no room is dropped; the others tell the same
	sub, err := c.Conn.ChanSubscribe(wire.LedgerSubject(c.Names, channel, enc), news)
	if err != nil {
		return Waited{}, fmt.Errorf("listen for the outcome: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only with the connection
	tick := time.NewTicker(waitLook)
	defer tick.Stop()
	for {
		rec, err := records.Get(ctx, entries[0], key)
		if err == nil {
			if w, ok := waited(channel, &rec, version); ok {
				return w, nil
			}
		} else if !wire.IsUnavailable(err) {
			return Waited{}, err
		}
		select {
		case <-ctx.Done():
			return Waited{}, ctx.Err()
		case <-news: // on its way into the ledger, and in the log already
		case <-tick.C:
		}
	}
}

// waited returns what a record tells whoever waits for a version; false if there is more to
// wait for.
func waited(channel string, rec *wire.Record, version versioning.Version) (w Waited, ok bool) {
	s, ok := rec.OutcomeOf(versioning.Tag{Version: version})
	if !ok {
		return Waited{}, false
	}
	w.Ack = wire.NewAck(channel, rec.Key, s)
	c, err := rec.Applied.Version.Compare(version)
	if s.Outcome != events.Superseded || err == nil && c >= 0 || byTarget(s) {
		return w, true
	}
	// The target holds nothing that is new enough.
	newest, ok := rec.Find(rec.Settled)
	if !ok || newest.Outcome == events.Superseded && !byTarget(newest) || rec.State != wire.StateSettled || rec.Newest() != rec.Settled || !rec.Open.IsZero() {
		return Waited{}, false
	}
	if !byTarget(newest) {
		ack := wire.NewAck(channel, rec.Key, newest)
		w.Newest = &ack
	}
	return w, true
}

// byTarget reports whether the target itself said that it holds a newer version.
func byTarget(s events.Settlement) bool {
	return s.Outcome == events.Superseded && s.Class == connectors.Stale.String() && s.Code != events.CodeOlder
}
