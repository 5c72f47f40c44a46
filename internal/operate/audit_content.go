package operate

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/transform"
)

// content compares what a target holds of keys with what the channel's stream has of them,
// mapped as the channel says.
type content struct {
	c         *Client
	route     events.Route
	stream    jetstream.Stream
	target    *connectors.Opened
	transform *transform.Transform
}

// contentOf returns nil where there is nothing to compare: the connector cannot, or the
// stream does not keep what was delivered.
func (c *Client) contentOf(ctx context.Context, e channels.Entry, target *connectors.Opened) (*content, error) {
	if !target.Can().Compares || e.Config.Mode != channels.Latest {
		return nil, nil
	}
	stream, err := c.JS.Stream(ctx, wire.UpdateStream(c.Names, e.Config.Route()))
	if err != nil {
		return nil, err
	}
	t, err := transform.New(e.Config.Transform())
	if err != nil {
		return nil, err
	}
	return &content{c: c, route: e.Config.Route(), stream: stream, target: target, transform: t}, nil
}

// auditPayloads is how many payloads are held at a time by each of auditPages.
const auditPayloads = 100

// compare notes in found what the target holds of the keys, and how it differs from what was
// delivered, content included. It returns the places in found of those whose last attempt is
// not known: they are to be read.
func (c *content) compare(ctx context.Context, found []Finding) (unread []int, err error) {
	for from := 0; from < len(found); from += auditPayloads {
		part := found[from:min(from+auditPayloads, len(found))]
		attempts, at, err := c.attempts(ctx, part)
		if err != nil {
			return nil, err
		}
		next := 0
		for i := range part {
			if next < len(at) && at[next] == i {
				next++
				continue
			}
			unread = append(unread, from+i)
		}
		if err := c.compareWith(ctx, part, attempts, at); err != nil {
			return nil, err
		}
	}
	return unread, nil
}

// attempts returns what the last attempts for some keys have written, and the places of
// these keys. It leaves out those of which the stream has something else by now, or what the
// channel does not send.
func (c *content) attempts(ctx context.Context, part []Finding) (attempts []connectors.Attempt, at []int, err error) {
	subjects := make([]string, len(part))
	for i := range part {
		enc, err := events.EncodeKey(part[i].Key)
		if err != nil {
			return nil, nil, err
		}
		subjects[i] = wire.StoredUpdate(c.c.Names, c.route, enc)
	}
	last, err := wire.ReadLastOf(ctx, c.c.JS, c.stream, subjects)
	if err != nil {
		return nil, nil, err
	}
	for i, msg := range last {
		if msg == nil {
			continue
		}
		a, err := c.attempt(ctx, msg, &part[i])
		if err != nil {
			return nil, nil, err
		}
		if a != nil {
			attempts, at = append(attempts, *a), append(at, i)
		}
	}
	return attempts, at, nil
}

func (c *content) compareWith(ctx context.Context, part []Finding, attempts []connectors.Attempt, at []int) error {
	if len(attempts) == 0 {
		return nil
	}
	compared, err := c.target.Compare(ctx, attempts)
	if err != nil {
		return fmt.Errorf("compare the target: %w", err)
	}
	for i, there := range compared {
		f := &part[at[i]]
		f.holds(there.Held)
		// The target holds that version, or nothing after a delete: a row without a version
		// may stand where the delete has removed one.
		if f.Difference == "" && len(there.Changed) > 0 {
			f.Difference, f.Changed = DiffDifferent, there.Changed
		}
	}
	return nil
}

// attempt returns what the message of an update makes the channel send; nil if it is not
// what was delivered, or nothing is sent.
func (c *content) attempt(ctx context.Context, msg *jetstream.RawStreamMsg, f *Finding) (*connectors.Attempt, error) {
	u, err := wire.Decode(c.c.Names, msg.Subject, msg.Header, msg.Data)
	if err != nil || u.Version != f.Ledger.Version || u.Digest() != f.Ledger.Digest {
		return nil, nil //nolint:nilnil,nilerr // it is not what was delivered
	}
	a, send, _ := c.transform.Apply(ctx, connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1})
	if !send {
		return nil, ctx.Err()
	}
	return &a, nil
}
