package delivery

import (
	"bytes"
	"context"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/parking"
)

// The parked stream has the content of parked updates. For each attempt it is read
// again, but for the payloads of keys that were attempted before: a worker keeps
// keptInMemory of these, with keptBesides for what keeping one takes.
const (
	keptInMemory = 4 << 20
	keptBesides  = 64
)

// contents are the contents of parked updates: at the broker, and those that are kept.
type contents struct {
	stream *parking.Stream
	kept   *atomic.Int64 // bytes, of all partitions of the worker
}

// loadPayload reads a parked update's payload for an attempt.
func (c *contents) loadPayload(ctx context.Context, it *lanes.Item) error {
	if it.Rim.Kept > 0 {
		return nil
	}
	return c.load(ctx, it)
}

// load reads a parked update's headers and payload.
func (c *contents) load(ctx context.Context, it *lanes.Item) error {
	if it.Parked == 0 || it.Rim.Raw != nil {
		return nil
	}
	msg, err := c.stream.Content(ctx, it.Parked)
	if err != nil {
		return err
	}
	it.Rim.Raw, it.Update.Payload = msg, msg.Data
	return nil
}

// unload gives the content of a parked update free again, but for its payload if
// there is room to keep it for the next attempt. held says that the update was not let go.
// Like keep and drop this is part of an event of the lanes.
func (c *contents) unload(it *lanes.Item, held bool) {
	if it.Parked > 0 && it.Rim.Raw != nil { // it was there
		it.Rim.Raw = nil
		c.keep(it, held)
	}
}

// keep keeps the payload of a parked update in memory, or lets go of it.
func (c *contents) keep(it *lanes.Item, held bool) {
	if it.Rim.Kept > 0 {
		return
	}
	payload, size := it.Update.Payload, len(it.Update.Payload)+keptBesides
	it.Update.Payload = nil
	if !held {
		return // let go when the tenure ended
	}
	if c.kept.Add(int64(size)) > keptInMemory {
		c.kept.Add(-int64(size))
		return
	}
	it.Rim.Kept, it.Update.Payload = size, bytes.Clone(payload) // without the message around it
}

// drop lets go of what keep has kept.
func (c *contents) drop(it *lanes.Item) {
	c.kept.Add(-int64(it.Rim.Kept))
	it.Rim.Kept, it.Update.Payload = 0, nil
}

// contentOf returns headers and data of an update as the broker has them. A redelivery may
// replace them, so this is done under the lock of the lanes.
func contentOf(it *lanes.Item) (nats.Header, []byte) {
	switch {
	case it.Rim.Raw != nil:
		return it.Rim.Raw.Header, it.Rim.Raw.Data
	case it.Msg != nil:
		return it.Msg.Headers(), it.Msg.Data()
	default:
		return nil, nil
	}
}
