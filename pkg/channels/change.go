package channels

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Change is what putting a configuration does to a channel.
type Change string

// The changes.
const (
	Created   Change = "created"
	Changed   Change = "changed"
	Unchanged Change = "unchanged"
	// Mended is not what Put does, but what Repair does for the channel's stream.
	Mended Change = "mended"
)

// Wanted returns the configuration that the entry would have after Put: with its
// defaults, and paused as the configuration says or else as the channel is.
func (e *Entry) Wanted(c Config) Config {
	c = c.WithDefaults()
	if c.Paused == nil {
		c.Paused = new(e.Paused())
	}
	return c
}

// Paused reports whether deliveries are held back.
func (e *Entry) Paused() bool { return e.Config.Paused != nil && *e.Config.Paused }

// Change tells what Put would do to the entry, the zero Entry standing for a
// channel that is not there. It fails with ErrDeleted or ErrImmutable where Put
// would.
func (e *Entry) Change(c Config) (Change, error) {
	c = e.Wanted(c)
	switch {
	case e.Revision == 0:
		return Created, nil
	case !e.Deleted.IsZero():
		return "", deletedError(*e)
	case e.Config.Mode != c.Mode: // it would need another stream
		return "", fmt.Errorf("channel %s: mode %w (%s to %s): make a channel of another name", c.Name, ErrImmutable, e.Config.Mode, c.Mode)
	case e.Config.Route() != c.Route(): // what is known of sequences would be of another stream
		return "", fmt.Errorf("channel %s: from %w (%s to %s): make a channel of another name", c.Name, ErrImmutable, e.Config.from(), c.from())
	case !e.Gated && sameConfig(e.Config, c):
		return Unchanged, nil
	default:
		return Changed, nil
	}
}

// SameWork reports whether a worker that works by one entry need not stop to work by
// the other: at most Reloads differs.
func (e *Entry) SameWork(other *Entry) bool {
	return e.Generation == other.Generation && e.Gated == other.Gated && e.Deleted.Equal(other.Deleted) &&
		sameConfig(e.Config, other.Config)
}

func sameConfig(a, b Config) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
