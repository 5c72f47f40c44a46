package operate

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
)

// A TopicOutcome is what became of an update in all channels that read its topic.
type TopicOutcome string

// The outcomes of a topic's update.
const (
	TopicUnread    TopicOutcome = "unread"    // no channel takes the key
	TopicOpen      TopicOutcome = "open"      // no channel has an outcome yet
	TopicDelivered TopicOutcome = "delivered" // each target holds the version, or a newer one, or its channel's filter keeps it back
	TopicPartial   TopicOutcome = "partial"   // some targets do; others refused it, or have no outcome yet
	TopicFailed    TopicOutcome = "failed"    // no target does, and some have refused it
)

// TopicPublished is what became of an update of a topic.
type TopicPublished struct {
	Receipt events.Receipt `json:"receipt" doc:"The broker has stored the update, for every channel that reads the topic now or later"`
	// Outcome is that over all channels; "" if nobody waited.
	Outcome  TopicOutcome  `json:"outcome,omitempty" enum:"unread,open,delivered,partial,failed" doc:"Over all channels that take the key; none if nobody waited"`
	Channels []TopicAnswer `json:"channels,omitempty" doc:"Each channel that takes the key, in the order of their names"`
}

// A TopicAnswer is what became of an update in one channel.
type TopicAnswer struct {
	Channel string      `json:"channel"`
	Ack     *events.Ack `json:"ack,omitempty" doc:"None: there was no outcome in time"`
	Why     *why.Reason `json:"why,omitempty" doc:"Why there was none, as far as that is known"`
}

// Open returns the channels without an outcome.
func (p *TopicPublished) Open() []TopicAnswer {
	var out []TopicAnswer
	for _, a := range p.Channels {
		if a.Ack == nil {
			out = append(out, a)
		}
	}
	return out
}

// TopicPublisher is what publishes to topics: a publish.Publisher, or what wraps one.
type TopicPublisher interface {
	Publish(ctx context.Context, u events.Update) (events.Receipt, error)
	RequestTopic(ctx context.Context, u events.Update, channels []string) (events.Receipt, []events.Ack, error)
}

// PublishTopic publishes an update to a topic and, if wait is more than 0, waits so long for
// its outcome in each channel that reads the topic now, takes the key, and is let through by
// allows; nil lets all through. One that was superseded has none until a newer version has
// taken its place at the target, or was given up: then that is its outcome. That some have
// none in time is no error: the answer says so, and why. The errors are those of
// publish.Publisher.Publish, and channels.ErrNotFound for an unknown topic.
func (c *Client) PublishTopic(ctx context.Context, publisher TopicPublisher, u events.Update, wait time.Duration, allows func(channel string) bool) (TopicPublished, error) {
	var out TopicPublished
	if wait <= 0 {
		receipt, err := publisher.Publish(ctx, u)
		out.Receipt = receipt
		return out, err
	}
	names, err := c.readersOf(ctx, u.Topic, u.Key, allows)
	if err != nil {
		return out, err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	receipt, acks, err := publisher.RequestTopic(waiting, u, names)
	if err != nil && !errors.Is(err, events.ErrNoAck) {
		return out, err
	}
	out.Receipt = receipt
	acks, err = c.settleEach(waiting, u, acks)
	if err != nil {
		return out, err
	}
	c.answer(ctx, &out, u, acks)
	return out, nil
}

// AwaitTopic waits until ctx ends for the outcome of a version of a topic's key in each
// channel that reads the topic now, takes the key, and is let through by allows, as
// PublishTopic does.
func (c *Client) AwaitTopic(ctx context.Context, u events.Update, allows func(channel string) bool) (TopicPublished, error) {
	out := TopicPublished{Receipt: events.Receipt{Topic: u.Topic, Key: u.Key, Version: u.Version}}
	names, err := c.readersOf(ctx, u.Topic, u.Key, allows)
	if err != nil {
		return out, err
	}
	acks := make([]events.Ack, len(names))
	for i, name := range names {
		acks[i] = wire.NewAck(name, u.Key, events.Settlement{Version: u.Version})
	}
	acks, err = c.settleEach(ctx, u, acks)
	if err != nil {
		return out, err
	}
	c.answer(ctx, &out, u, acks)
	return out, nil
}

// settleEach waits until ctx ends for what became of an update in each channel whose ack does
// not tell: it has none, or was superseded. It leaves out channels that are there no more.
func (c *Client) settleEach(ctx context.Context, u events.Update, acks []events.Ack) ([]events.Ack, error) {
	errs := make([]error, len(acks))
	var each sync.WaitGroup
	for i := range acks {
		if acks[i].Outcome != "" && acks[i].Outcome != events.Superseded {
			continue
		}
		each.Go(func() {
			var w Waited
			w, errs[i] = c.Wait(ctx, acks[i].Channel, u.Key, u.Version)
			channel := acks[i].Channel
			if acks[i] = w.Ack; w.Newest != nil {
				acks[i] = *w.Newest
			}
			acks[i].Channel, acks[i].Topic = channel, u.Topic
		})
	}
	each.Wait()
	out := acks[:0]
	for i, err := range errs {
		late := ctx.Err() != nil && errors.Is(err, ctx.Err()) && !errors.Is(err, events.ErrUnavailable)
		switch {
		case errors.Is(err, channels.ErrNotFound):
		case err != nil && !late:
			return nil, err
		default:
			out = append(out, acks[i])
		}
	}
	return out, nil
}

// answer notes what became of an update in each channel, also when ctx has ended.
func (c *Client) answer(ctx context.Context, out *TopicPublished, u events.Update, acks []events.Ack) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), whyTimeout)
	defer cancel()
	out.Channels = make([]TopicAnswer, len(acks))
	var reasons errgroup.Group
	reasons.SetLimit(lookAtOnce)
	delivered, ended := 0, 0
	for i := range acks {
		a := &out.Channels[i]
		if a.Channel = acks[i].Channel; acks[i].Outcome == "" {
			reasons.Go(func() error {
				a.Why = c.why(ctx, a.Channel, u.Key, u.Version)
				return nil
			})
			continue
		}
		a.Ack = &acks[i]
		ended++
		if acks[i].Outcome == events.Delivered || acks[i].Outcome == events.Superseded {
			delivered++
		}
	}
	_ = reasons.Wait() // none fails
	switch {
	case len(acks) == 0:
		out.Outcome = TopicUnread
	case ended == 0:
		out.Outcome = TopicOpen
	case delivered == len(acks):
		out.Outcome = TopicDelivered
	case delivered > 0:
		out.Outcome = TopicPartial
	default:
		out.Outcome = TopicFailed
	}
}
