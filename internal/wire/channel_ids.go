package wire

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// idAge is for how long a channel's id is remembered. A name gets another channel at
// the earliest when the one before was deleted for days.
const idAge = 10 * time.Second

// channelIDs remembers the ids of channels, as the metadata of their streams says.
// It is safe for concurrent use.
type channelIDs struct {
	js    jetstream.JetStream
	names events.Names
	known sync.Map // channel name to knownID
}

type knownID struct {
	id string
	at time.Time
}

// of returns a channel's id; "" if it has no stream, or one that says none: then
// records of any id count. With fresh it is not taken from memory.
func (c *channelIDs) of(ctx context.Context, channel string, fresh bool) (string, error) {
	if v, ok := c.known.Load(channel); ok && !fresh {
		k := v.(knownID) //nolint:forcetypeassert // only ids are stored
		if time.Since(k.at) < idAge {
			return k.id, nil
		}
	}
	s, err := c.js.Stream(ctx, UpdateStream(c.names, events.ToChannel(channel)))
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", err
	}
	k := knownID{at: time.Now()}
	if err == nil {
		k.id = s.CachedInfo().Config.Metadata[MetadataChannelID]
	}
	c.known.Store(channel, k)
	return k.id, nil
}

// owns reports whether a record with an id is of the channel that has the name now.
func (c *channelIDs) owns(ctx context.Context, channel, id string) (bool, error) {
	for _, fresh := range []bool{false, true} {
		now, err := c.of(ctx, channel, fresh)
		if err != nil {
			return false, err
		}
		if now == id || now == "" && fresh { // there may be a channel since it was remembered
			return true, nil
		}
	}
	return false, nil
}
