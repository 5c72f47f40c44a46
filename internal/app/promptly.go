package app

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// promptly is a publisher that does not wait for answers when the broker has
// refused the request.
type promptly struct {
	*events.Publisher
	c        *Client
	registry *channels.Registry
	known    sync.Map // names of channels
}

// Publish is events.Publisher.Publish.
func (p *promptly) Publish(ctx context.Context, u events.Update) (receipt events.Receipt, err error) {
	err = p.on(ctx, u.Channel, func(ctx context.Context) error {
		receipt, err = p.Publisher.Publish(ctx, u)
		return err
	})
	return receipt, err
}

// Request is events.Publisher.Request.
func (p *promptly) Request(ctx context.Context, u events.Update) (receipt events.Receipt, ack events.Ack, err error) {
	err = p.on(ctx, u.Channel, func(ctx context.Context) error {
		receipt, ack, err = p.Publisher.Request(ctx, u)
		return err
	})
	return receipt, ack, err
}

// on does something with a channel. A name that no channel has is not tried at
// the broker: no role has permissions for it, and anybody may make one up.
func (p *promptly) on(ctx context.Context, channel string, do func(context.Context) error) error {
	if _, ok := p.known.Load(channel); !ok && events.CheckChannel(channel) == nil {
		_, err := p.registry.Get(ctx, channel)
		if errors.Is(err, channels.ErrNotFound) {
			return fmt.Errorf("%w: %s; apply it first, or check the name and the subject prefix", events.ErrUnknownChannel, channel)
		}
		if err == nil {
			p.known.Store(channel, nil)
		}
	}
	return p.c.forChannel(ctx, channel, do)
}

// forChannel does something with a channel. When the broker refuses a subject of
// the channel, it ends with broker.ErrRefused.
func (c *Client) forChannel(ctx context.Context, channel string, do func(context.Context) error) error {
	return c.refusals.Do(ctx, broker.Mentioning(channel, c.Names.UpdateStream(channel)), do)
}
