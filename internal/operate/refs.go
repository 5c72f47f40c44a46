package operate

import (
	"context"

	"github.com/hms-utl/extsync/pkg/events"
)

// Refs returns what is remembered of a key in a channel; nil if that is nothing. It fails
// with channels.ErrNotFound.
func (c *Client) Refs(ctx context.Context, channel, key string) (events.Refs, error) {
	entries, err := c.channels(ctx, channel)
	if err != nil {
		return nil, err
	}
	records, err := c.Records(ctx)
	if err != nil {
		return nil, err
	}
	rec, err := records.Get(ctx, entries[0], key)
	return rec.Refs, err
}
