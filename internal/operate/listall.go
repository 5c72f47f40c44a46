package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/channels"
)

// listChannels is how many channels a page of all of them looks at.
const listChannels = 32

// channelEnd separates, in the cursor of a list of all channels, the name of one from the
// cursor of its own list.
const channelEnd = ":"

// all adds keys of several channels.
func (l *listing) all(ctx context.Context, entries []channels.Entry) error {
	first, cursor, ok := strings.Cut(l.q.Cursor, channelEnd)
	if !ok && first != "" {
		return fmt.Errorf("%w: %.40q", ErrCursor, l.q.Cursor)
	}
	entries = slices.DeleteFunc(entries, func(e channels.Entry) bool {
		return e.Config.Name < first || !e.Deleted.IsZero() || l.q.Allows != nil && !l.q.Allows(e.Config.Name)
	})
	for i, e := range entries {
		if i == listChannels || l.full() {
			l.page.Next = e.Config.Name + channelEnd
			return nil
		}
		l.q.Channel, l.q.Cursor = e.Config.Name, ""
		if e.Config.Name == first {
			l.q.Cursor = cursor
		}
		next, err := l.channel(ctx, e)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound): // status and doctor say so
		case err != nil:
			return fmt.Errorf("channel %s: %w", e.Config.Name, err)
		case next != "":
			l.page.Next = e.Config.Name + channelEnd + next
			return nil
		}
	}
	return nil
}
