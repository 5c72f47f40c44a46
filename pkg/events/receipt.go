package events

import "github.com/hms-utl/extsync/pkg/versioning"

// A Receipt says that the broker has stored an update.
type Receipt struct {
	Channel string             `json:"channel,omitempty"`
	Topic   string             `json:"topic,omitempty"` // in place of Channel
	Key     string             `json:"key"`
	Version versioning.Version `json:"version"`
	ID      string             `json:"id"`
	// Sequence is the update's in the channel's or topic's stream; 0 for a duplicate that
	// was already settled and removed.
	Sequence uint64 `json:"sequence,omitempty"`
	// Duplicate says that this very content of this very version was there
	// before. Its ack goes to whoever published it first; see Outcome.
	Duplicate bool `json:"duplicate,omitempty"`
}
