package wire

import (
	"github.com/hms-utl/extsync/pkg/events"
)

// NewAck returns the ack for a settlement of a key.
func NewAck(channel, key string, s events.Settlement) events.Ack {
	return events.Ack{Format: Format, Channel: channel, Key: key, Settlement: told(s)}
}
