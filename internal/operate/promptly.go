package operate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A PromptPublisher is a publisher that does not wait for answers when the broker has
// refused the request. It is safe for concurrent use.
type PromptPublisher struct {
	*publish.Publisher
	c        *Client
	registry *channels.Registry
	known    sync.Map // routes
}

// PromptPublisher returns a publisher, or events.ErrNotProvisioned.
func (c *Client) PromptPublisher(ctx context.Context) (*PromptPublisher, error) {
	publisher, err := c.Publisher(ctx)
	if err != nil {
		return nil, err
	}
	registry, err := c.Registry(ctx)
	if err != nil {
		return nil, err
	}
	return &PromptPublisher{Publisher: publisher, c: c, registry: registry}, nil
}

// Publish is publish.Publisher.Publish.
func (p *PromptPublisher) Publish(ctx context.Context, u events.Update) (receipt events.Receipt, err error) {
	err = p.on(ctx, u.Route(), func(ctx context.Context) error {
		receipt, err = p.Publisher.Publish(ctx, u)
		return err
	})
	return receipt, err
}

// Request is publish.Publisher.Request.
func (p *PromptPublisher) Request(ctx context.Context, u events.Update) (receipt events.Receipt, ack events.Ack, err error) {
	err = p.on(ctx, u.Route(), func(ctx context.Context) error {
		receipt, ack, err = p.Publisher.Request(ctx, u)
		return err
	})
	return receipt, ack, err
}

// RequestTopic is publish.Publisher.RequestTopic.
func (p *PromptPublisher) RequestTopic(ctx context.Context, u events.Update, channels []string) (receipt events.Receipt, acks []events.Ack, err error) {
	err = p.on(ctx, u.Route(), func(ctx context.Context) error {
		receipt, acks, err = p.Publisher.RequestTopic(ctx, u, channels)
		return err
	})
	return receipt, acks, err
}

// PublishAll is publish.Publisher.PublishAll for updates of one route. If there is no such
// channel or topic, the first update fails, and no other is taken.
func (p *PromptPublisher) PublishAll(ctx context.Context, updates iter.Seq[events.Update], inFlight int) iter.Seq2[events.Receipt, error] {
	return func(yield func(events.Receipt, error) bool) {
		next, stop := iter.Pull(updates)
		defer stop()
		first, ok := next()
		if !ok {
			return
		}
		all := func(yield func(events.Update) bool) {
			for u, ok := first, true; ok && yield(u); u, ok = next() {
			}
		}
		err := p.on(ctx, first.Route(), func(ctx context.Context) error {
			for receipt, err := range p.Publisher.PublishAll(ctx, all, inFlight) {
				if cause := context.Cause(ctx); err != nil && errors.Is(cause, broker.ErrRefused) {
					err = cause
				}
				if !yield(receipt, err) {
					break
				}
			}
			return nil
		})
		if err != nil { // nothing was published
			yield(events.Receipt{}, err)
		}
	}
}

// on does something with a route. A name that no channel or topic has is not tried at
// the broker: no role has permissions for it, and anybody may make one up.
func (p *PromptPublisher) on(ctx context.Context, r events.Route, do func(context.Context) error) error {
	if _, ok := p.known.Load(r); !ok && events.CheckChannel(r.Name()) == nil {
		err := p.look(ctx, r)
		if errors.Is(err, channels.ErrNotFound) {
			unknown := events.ErrUnknownChannel
			if r.Topic() != "" {
				unknown = events.ErrUnknownTopic
			}
			return fmt.Errorf("%w: %s; apply it first, or check the name and the subject prefix", unknown, r.Name())
		}
		if err == nil {
			p.known.Store(r, nil)
		}
	}
	return p.c.forRoute(ctx, r, do)
}

// look fails with channels.ErrNotFound if there is no such channel or topic.
func (p *PromptPublisher) look(ctx context.Context, r events.Route) (err error) {
	if r.Topic() != "" {
		_, err = p.registry.Topic(ctx, r.Topic())
	} else {
		_, err = p.registry.Get(ctx, r.Name())
	}
	return err
}

// CheckRoute fails unless a channel or topic takes updates: with channels.ErrNotFound if it is
// not there, with events.ErrReadsTopic for a channel that reads a topic.
func (c *Client) CheckRoute(ctx context.Context, r events.Route) error {
	registry, err := c.Registry(ctx)
	if err != nil {
		return err
	}
	if r.Topic() != "" {
		_, err := registry.Topic(ctx, r.Topic())
		return err
	}
	e, err := registry.Get(ctx, r.Name())
	if err == nil && e.Config.From != nil {
		err = fmt.Errorf("%w: channel %s reads topic %s: publish to the topic", events.ErrReadsTopic, r.Name(), e.Config.From.Topic)
	}
	return err
}

// ForChannel does something with a channel. When the broker refuses a subject of
// the channel, it ends with broker.ErrRefused.
func (c *Client) ForChannel(ctx context.Context, channel string, do func(context.Context) error) error {
	return c.forRoute(ctx, events.ToChannel(channel), do)
}

func (c *Client) forRoute(ctx context.Context, r events.Route, do func(context.Context) error) error {
	return c.Refusals.Do(ctx, broker.Mentioning(r.Name(), wire.UpdateStream(c.Names, r)), do)
}
