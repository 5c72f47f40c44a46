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
)

// Change tells what Put would do to the entry, the zero Entry standing for a
// channel that is not there. It fails with ErrDeleted or ErrImmutable where Put
// would.
func (e *Entry) Change(c Config) (Change, error) {
	c = c.WithDefaults()
	switch {
	case e.Revision == 0:
		return Created, nil
	case !e.Deleted.IsZero():
		return "", deletedError(*e)
	case e.Config.Mode != c.Mode: // it would need another stream
		return "", fmt.Errorf("channel %s: mode %w (%s to %s): make a channel of another name", c.Name, ErrImmutable, e.Config.Mode, c.Mode)
	case !e.Gated && sameConfig(e.Config, c):
		return Unchanged, nil
	default:
		return Changed, nil
	}
}

func sameConfig(a, b Config) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
