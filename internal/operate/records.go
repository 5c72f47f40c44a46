package operate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// Records reads what became of keys: the ledger's record, brought up to the end
// of the outcome log. The ledger alone is behind the acks by up to half a second.
type Records struct {
	c        *Client
	ledger   *wire.Ledger
	progress *channels.ProgressStore
}

// Records returns a reader of records, or events.ErrNotProvisioned.
func (c *Client) Records(ctx context.Context) (*Records, error) {
	ledger, err := wire.OpenLedger(ctx, c.JS, c.Names)
	if err != nil {
		return nil, err
	}
	progress, err := channels.OpenProgress(ctx, c.JS, c.Names)
	if err != nil {
		return nil, err
	}
	return &Records{c: c, ledger: ledger, progress: progress}, nil
}

// catchUpLook is how often it is looked whether the ledger has caught up.
const catchUpLook = 100 * time.Millisecond

// CatchUp waits until the ledger has all of a channel's outcomes that are in the
// log now, but not for longer than most: without a worker it stays behind.
func (r *Records) CatchUp(ctx context.Context, e channels.Entry, most time.Duration) error {
	ends := make([]uint64, max(e.Config.Partitions, 1))
	for p := range ends {
		last, err := wire.ReadFromLeader(ctx, r.c.JS, wire.OutcomeStream(r.c.Names), wire.MessageQuery{LastOn: wire.Outcomes(r.c.Names, e.Config.Name, r.progress.Incarnation(), p)})
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("read the outcome log: %w", err)
		}
		if err == nil {
			ends[p] = last.Sequence
		}
	}
	tick := time.NewTicker(catchUpLook)
	defer tick.Stop()
	enough := time.After(most)
	for p, end := range ends {
		for {
			progress, _, err := r.progress.Read(ctx, e.Config.Name, e.Generation, p)
			if err != nil {
				return err
			}
			if progress.LogSeq >= end {
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-enough:
				return nil
			case <-tick.C:
			}
		}
	}
	return nil
}

// Get returns the record of a key; the zero Record if nothing became of it yet.
// It has every outcome whose ack was sent before the call.
func (r *Records) Get(ctx context.Context, e channels.Entry, key string) (wire.Record, error) {
	channel := e.Config.Name
	enc, err := events.EncodeKey(key)
	if err != nil {
		return wire.Record{}, err
	}
	partition := wire.Partition(enc, max(e.Config.Partitions, 1))
	// In this order: the ledger has at least what the progress says, and the log
	// has the rest.
	p, _, err := r.progress.Read(ctx, channel, e.Generation, partition)
	if err != nil {
		return wire.Record{}, err
	}
	rec, err := r.ledger.Get(ctx, channel, key)
	if err != nil && !errors.Is(err, events.ErrNoRecord) {
		return wire.Record{}, err
	}
	subject := wire.Outcomes(r.c.Names, channel, r.progress.Incarnation(), partition)
	last, err := wire.ReadFromLeader(ctx, r.c.JS, wire.OutcomeStream(r.c.Names), wire.MessageQuery{LastOn: subject})
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && last.Sequence <= p.LogSeq {
		return rec, nil
	}
	if err != nil {
		return wire.Record{}, err
	}
	mark, err := wire.KeyMark(key)
	if err != nil {
		return wire.Record{}, err
	}
	query := wire.StreamQuery{Stream: wire.OutcomeStream(r.c.Names), Subject: subject, From: p.LogSeq + 1, Until: last.Sequence}
	for msg, err := range wire.ReadStream(ctx, r.c.JS, query) {
		if err != nil {
			return wire.Record{}, err
		}
		if !bytes.Contains(msg.Data, mark) {
			continue
		}
		group, err := wire.DecodeGroup(msg.Data)
		if err != nil {
			return wire.Record{}, err
		}
		for _, entry := range group.Entries {
			if entry.Key == key {
				rec.Add(entry, wire.LogPosition{Incarnation: r.progress.Incarnation(), Seq: msg.Sequence})
			}
		}
	}
	return rec, nil
}
