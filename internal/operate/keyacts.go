package operate

import (
	"context"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/pkg/events"
)

// Reset is a key whose versions start anew in a channel.
type Reset struct {
	Channel string      `json:"channel"`
	Key     string      `json:"key"`
	Was     Whereabouts `json:"was" doc:"How it stood before"`
}

// GivenUp says what became of an update that was to be given up.
type GivenUp struct {
	Channel string            `json:"channel"`
	Key     string            `json:"key"`
	Settled events.Settlement `json:"settled" doc:"dead_lettered with code given_up, or another outcome if it came to that meanwhile"`
}

// ResetKey makes a channel forget what it knows of a key that Find has found, and records
// that. It fails as channels.Registry.ResetKey does.
func (c *Client) ResetKey(ctx context.Context, was Whereabouts) (Reset, error) {
	out := Reset{Channel: was.Channel, Key: was.Key, Was: was}
	registry, err := c.Registry(ctx)
	if err != nil {
		return out, err
	}
	act := auditlog.Act{Action: "key.reset", Target: "channel " + was.Channel, Before: was, After: ofKey(was.Key)}
	return out, c.Act(ctx, act, func(ctx context.Context) (any, error) {
		return nil, registry.ResetKey(ctx, was.Channel, was.Key)
	})
}

// ResetTopicKey makes a topic, and all channels that read it, forget what they know of a key
// that TopicKey has found, and records that.
func (c *Client) ResetTopicKey(ctx context.Context, was Wanted, key string) error {
	registry, err := c.Registry(ctx)
	if err != nil {
		return err
	}
	act := auditlog.Act{Action: "key.reset", Target: "topic " + was.Topic, Before: was, After: ofKey(key)}
	return c.Act(ctx, act, func(ctx context.Context) (any, error) { return nil, registry.ResetTopicKey(ctx, was.Topic, key) })
}

// GiveUp ends the pending update of a key that Find has found, and records that. It fails as
// channels.Registry.GiveUp does.
func (c *Client) GiveUp(ctx context.Context, was Whereabouts) (GivenUp, error) {
	out := GivenUp{Channel: was.Channel, Key: was.Key}
	registry, err := c.Registry(ctx)
	if err != nil {
		return out, err
	}
	act := auditlog.Act{Action: "key.give_up", Target: "channel " + was.Channel, Before: was, After: ofKey(was.Key)}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		var err error
		out.Settled, err = registry.GiveUp(ctx, was.Channel, was.Key)
		return out, err
	})
	return out, err
}

// ofKey names the key of an act in the audit log.
func ofKey(key string) map[string]string { return map[string]string{"key": key} }
