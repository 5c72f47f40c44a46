package operate

import (
	"context"
	"fmt"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// ReadBack is what a target holds of a key, beside what the channel would send now.
type ReadBack struct {
	Channel string `json:"channel"`
	Key     string `json:"key"`
	channels.ReadBack
}

// ReadBack has the worker that owns a key read it at the target, and records that somebody
// has seen it: without the record nothing is read or shown. It fails as
// channels.Registry.ReadBack does, and with ErrUnknownKey for a key that the channel does not
// take.
func (c *Client) ReadBack(ctx context.Context, channel, key string) (ReadBack, error) {
	out := ReadBack{Channel: channel, Key: key}
	if _, err := events.EncodeKey(key); err != nil {
		return out, fmt.Errorf("%w: key: %w", events.ErrInvalidUpdate, err)
	}
	entries, err := c.channels(ctx, channel)
	if err != nil {
		return out, err
	}
	if !entries[0].Config.Takes(key) {
		return out, notTaken(ErrUnknownKey, entries, key)
	}
	registry, err := c.Registry(ctx)
	if err != nil {
		return out, err
	}
	err = c.looking(ctx, channel, key, func(ctx context.Context) (err error) {
		out.ReadBack, err = registry.ReadBack(ctx, channel, key)
		return err
	})
	if err != nil {
		return ReadBack{}, err
	}
	return out, nil
}
