package wire

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Format is the version of every stored record this package writes: entries of
// the outcome log, acks, ledger records. Old and new workers run side by side
// during an upgrade; one that meets a newer format stops rather than guesses.
const Format = 1

// CheckFormat refuses a format above Format, and one below 1.
func CheckFormat(f int) error {
	switch {
	case f > Format:
		return fmt.Errorf("%w: it has %d, this release reads up to %d; upgrade this process", events.ErrNewerFormat, f, Format)
	case f < 1:
		return fmt.Errorf("record has no valid format: %d", f)
	default:
		return nil
	}
}

// What the outcome log says besides the outcomes. After Retrying and Parked, an attempt
// failed and another will follow, after Parked without holding up other keys.
const (
	Retrying events.Outcome = "retrying"
	Parked   events.Outcome = "parked"
	// Reset is no outcome: an administrator has made the ledger forget the key.
	Reset events.Outcome = "reset"
	// RefsSet is no outcome: an operator has set what is remembered of the key.
	RefsSet events.Outcome = "refs_set"
)

// Final reports whether the outcome ends the delivery.
func Final(o events.Outcome) bool {
	return o == events.Delivered || o == events.Superseded || o == events.Conflict || o == events.DeadLettered
}

// An Entry of the outcome log is one outcome of one update, or one failed
// attempt that will be followed by another.
type Entry struct {
	Key string    `json:"key"`
	Op  events.Op `json:"op,omitempty"`
	events.Settlement
	NextAttempt time.Time `json:"next_attempt,omitzero"` // for Retrying
	// TryingMS is for how many milliseconds the update has been tried in vain, for
	// Retrying and Parked; times in which the target was down do not count.
	TryingMS int64 `json:"trying_ms,omitempty"`
	// UnreadyMS is for how many milliseconds the key has been not ready, see
	// connectors.Unready; only those in which others got through count.
	UnreadyMS int64 `json:"unready_ms,omitempty"`
	// Asked says that the target has asked to wait until NextAttempt.
	Asked      bool   `json:"asked,omitempty"`
	ReplyTo    string `json:"reply_to,omitempty"`
	ReplyLines bool   `json:"reply_lines,omitempty"` // see Update
	// Held is the version that the target said it holds, if it said so.
	Held versioning.Version `json:"held,omitzero"`
	// Head says, for Parked, that the entry tells of no attempt, but that updates up to this
	// version are parked and leave the channel's stream.
	Head bool `json:"head,omitempty"`
	// Open is, for a version that was superseded while it waited, the older one whose call
	// was in flight: it has no outcome yet.
	Open versioning.Version `json:"open,omitzero"`
	// Sequence is the update's sequence in its channel's stream.
	Sequence uint64 `json:"sequence,omitempty"`
	Void     *Void  `json:"void,omitempty"` // for Reset
	// Refs are all that is remembered of the key from then on, for Delivered, but where the
	// filter kept the update back, and for RefsSet.
	Refs events.Refs `json:"refs,omitempty"`
	// Content is that of the entry's group.
	Content ContentID `json:"-"`

	encoded []byte // the settlement, as the last group with this entry was appended
}

// A Group is one record of the outcome log: entries that were committed
// together. Epoch and Number identify it; a Group without entries marks the
// moment from which its worker owns the partition.
type Group struct {
	Format    int       `json:"f"`
	Channel   string    `json:"channel"`
	ChannelID string    `json:"channel_id,omitempty"` // see MetadataChannelID
	Partition int       `json:"partition"`
	Epoch     uint64    `json:"epoch"`
	Number    uint64    `json:"n"`
	Worker    string    `json:"worker"`
	At        time.Time `json:"at"`
	// Content is that of the channel's configuration when the outcomes came about.
	Content ContentID `json:"content,omitempty"`
	Entries []Entry   `json:"entries,omitempty"`
}

// A ContentID tells configurations of a channel apart that make something else of an
// update: another filter, mapping or target. 0: it is not known. Of two that differ in
// nothing of the kind it is the same; by chance it is the same for one pair in 2^32.
type ContentID uint32

// DecodeGroup reads a record of the outcome log.
func DecodeGroup(data []byte) (Group, error) {
	var g Group
	if err := json.Unmarshal(data, &g); err != nil {
		return Group{}, fmt.Errorf("outcome log record: %w", err)
	}
	if err := CheckFormat(g.Format); err != nil {
		return Group{}, fmt.Errorf("outcome log: %w", err)
	}
	for i := range g.Entries {
		g.Entries[i].Content = g.Content
	}
	return g, nil
}

// older reports whether the target has said that it holds a newer version.
func (e *Entry) older() bool {
	return e.Outcome == events.Superseded && e.Class != "" && e.Code != events.CodeOlder
}

// told returns the settlement as acks and ledger records have it.
func told(s events.Settlement) events.Settlement {
	if s.Outcome == events.Delivered {
		s.Response = ""
	}
	return s
}
