package delivery

import (
	"bytes"
	"context"

	"github.com/nats-io/nats.go"
)

// The parked stream has the content of parked updates. For each attempt it is read
// again, but for the payloads of keys that were attempted before: a worker keeps
// keptInMemory of these, with keptBesides for what keeping one takes.
const (
	keptInMemory = 4 << 20
	keptBesides  = 64
)

// loadPayload reads a parked update's payload for an attempt.
func (t *tenure) loadPayload(ctx context.Context, it *item) error {
	if it.kept > 0 {
		return nil
	}
	return t.loadContent(ctx, it)
}

// loadContent reads a parked update's headers and payload.
func (t *tenure) loadContent(ctx context.Context, it *item) error {
	if it.parked == 0 || it.raw != nil {
		return nil
	}
	msg, err := t.parked.Content(ctx, it.parked)
	if err != nil {
		return err
	}
	it.raw, it.u.Payload = msg, msg.Data
	return nil
}

// unload gives the content of a parked update free again, but for its payload if
// there is room to keep it for the next attempt. The caller holds mu.
func (t *tenure) unload(it *item) {
	if it.parked > 0 && it.raw != nil { // it was there
		it.raw = nil
		t.keep(it)
	}
}

// keep keeps the payload of a parked update in memory, or lets go of it. The caller
// holds mu.
func (t *tenure) keep(it *item) {
	if it.kept > 0 {
		return
	}
	payload, size := it.u.Payload, len(it.u.Payload)+keptBesides
	it.u.Payload = nil
	if t.held[it.where()] != it {
		return // let go when the tenure ended
	}
	if t.b.kept.Add(int64(size)) > keptInMemory {
		t.b.kept.Add(-int64(size))
		return
	}
	it.kept, it.u.Payload = size, bytes.Clone(payload) // without the message around it
}

// dropKept lets go of what keep has kept. The caller holds mu.
func (t *tenure) dropKept(it *item) {
	t.b.kept.Add(-int64(it.kept))
	it.kept, it.u.Payload = 0, nil
}

// content returns headers and data of an update as the broker has them. The
// caller holds mu.
func (it *item) content() (nats.Header, []byte) {
	switch {
	case it.raw != nil:
		return it.raw.Header, it.raw.Data
	case it.msg != nil:
		return it.msg.Headers(), it.msg.Data()
	default:
		return nil, nil
	}
}
