package operate

import (
	"context"
	"errors"
	"fmt"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// Wanted is what a topic holds of a key.
type Wanted struct {
	Topic  string `json:"topic"`
	Newest Copy   `json:"newest" doc:"The newest version that was published"`
	// Malformed says why the newest message is no update; "" if it is.
	Malformed string `json:"malformed,omitempty" doc:"Why the newest message is no update; none if it is"`
}

// TopicKey returns what a topic holds of a key. It fails with channels.ErrNotFound, or with
// ErrUnknownKey.
func (c *Client) TopicKey(ctx context.Context, topic, key string) (Wanted, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return Wanted{}, err
	}
	if _, err := registry.Topic(ctx, topic); err != nil {
		return Wanted{}, err
	}
	w, there, err := c.topicKey(ctx, topic, key)
	if err == nil && !there {
		err = fmt.Errorf("%w: nothing was published to topic %s for %q", ErrUnknownKey, topic, key)
	}
	return w, err
}

func (c *Client) topicKey(ctx context.Context, topic, key string) (w Wanted, there bool, err error) {
	w = Wanted{Topic: topic}
	var malformed error
	err = c.forRoute(ctx, events.ToTopic(topic), func(ctx context.Context) (err error) {
		w.Newest, malformed, err = c.head(ctx, events.ToTopic(topic), key)
		return err
	})
	if malformed != nil {
		w.Malformed = malformed.Error()
	}
	return w, malformed != nil || !w.Newest.Version.IsZero(), err
}

// wanted returns what the topics hold of a key that the lookup lets through.
func (c *Client) wanted(ctx context.Context, l Lookup) ([]Wanted, error) {
	if _, err := events.EncodeKey(l.Key); err != nil {
		return nil, fmt.Errorf("%w: key: %w", events.ErrInvalidUpdate, err)
	}
	registry, err := c.Registry(ctx)
	if err != nil {
		return nil, err
	}
	topics, err := registry.Topics(ctx)
	if err != nil {
		return nil, err
	}
	var out []Wanted
	for _, t := range topics {
		if l.AllowsTopic != nil && !l.AllowsTopic(t.Topic.Name) {
			continue
		}
		w, there, err := c.topicKey(ctx, t.Topic.Name, l.Key)
		if errors.Is(err, channels.ErrNotFound) { // its stream is gone, as doctor says
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Topic.Name, err)
		}
		if there {
			out = append(out, w)
		}
	}
	return out, nil
}
