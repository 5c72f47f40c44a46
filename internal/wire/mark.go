package wire

import "time"

// A Mark is a place in a stream: a sequence, and when the broker stored the message
// there. The zero Mark covers nothing.
type Mark struct {
	Sequence uint64    `json:"sequence,omitempty"`
	Stored   time.Time `json:"stored,omitzero"`
}

// Covers reports whether a message lies at the mark or before it. Both must agree:
// where a stream was made again, or was restored from older files, the broker gives
// sequences a second time, to messages that are newer.
func (m Mark) Covers(sequence uint64, stored time.Time) bool {
	return sequence <= m.Sequence && !stored.After(m.Stored)
}

// IsZero reports whether it is the zero Mark.
func (m Mark) IsZero() bool { return m.Sequence == 0 && m.Stored.IsZero() }

// A Void says what no longer counts of a key that was reset: a broker that was killed
// may bring back what was removed then (docs/adr/0032).
type Void struct {
	Updates Mark      `json:"updates,omitzero"` // in the channel's stream
	Letters Mark      `json:"letters,omitzero"` // in that of the dead letters
	At      time.Time `json:"at"`
}
