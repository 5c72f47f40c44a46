package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// Format is the version of every stored record this package writes: entries of
// the outcome log, acks, ledger records. Old and new workers run side by side
// during an upgrade; one that meets a newer format stops rather than guesses.
const Format = 1

// ErrNewerFormat says that a record was written by a newer release.
var ErrNewerFormat = errors.New("record has a newer format")

// CheckFormat refuses a format above Format, and one below 1.
func CheckFormat(f int) error {
	switch {
	case f > Format:
		return fmt.Errorf("%w: it has %d, this release reads up to %d; upgrade this process", ErrNewerFormat, f, Format)
	case f < 1:
		return fmt.Errorf("record has no valid format: %d", f)
	default:
		return nil
	}
}

// Outcome is how the delivery of an update ended.
type Outcome string

// The outcomes. Every accepted update ends in exactly one of the first four;
// Retrying and Parked are not final: an attempt failed and another will follow,
// after Parked without holding up other keys.
const (
	Delivered    Outcome = "delivered"
	Superseded   Outcome = "superseded"
	Conflict     Outcome = "conflict"
	DeadLettered Outcome = "dead_lettered"
	Retrying     Outcome = "retrying"
	Parked       Outcome = "parked"
	// Reset is no outcome: an administrator has made the ledger forget the key.
	Reset Outcome = "reset"
)

// older reports whether the target has said that it holds a newer version.
func (e *Entry) older() bool {
	return e.Outcome == Superseded && e.Class != "" && e.Code != CodeOlder
}

// CodeFiltered is the code of an update that the channel's filter kept back: its
// outcome is Delivered, as it needs nothing more, but nothing was sent. The
// target holds what it held before.
const CodeFiltered = "filtered"

// Final reports whether the outcome ends the delivery.
func (o Outcome) Final() bool {
	return o == Delivered || o == Superseded || o == Conflict || o == DeadLettered
}

// A Settlement says what became of one version of a key.
type Settlement struct {
	Version  versioning.Version `json:"version"`
	Digest   versioning.Digest  `json:"digest,omitzero"`
	ID       string             `json:"id,omitempty"`
	Outcome  Outcome            `json:"outcome"`
	Attempts int                `json:"attempts,omitempty"` // that counted against the update
	// By is the version that overtook this one, for Superseded.
	By versioning.Version `json:"by,omitzero"`
	// Class, Code and Message say why, for all but Delivered. Message is at most
	// MaxMessageLen bytes and holds no secret.
	Class   string    `json:"class,omitempty"`
	Code    string    `json:"code,omitempty"`
	Message string    `json:"message,omitempty"`
	At      time.Time `json:"at"`
	// Response is the beginning of what the target answered, in one line of at most
	// MaxResponseLen bytes and without the connector's secrets; "" if there was no
	// answer. That of a delivered update is in the outcome log only.
	Response string `json:"response,omitempty"`
}

// MaxMessageLen bounds the message of a Settlement, MaxResponseLen its response,
// in bytes.
const (
	MaxMessageLen  = 300
	MaxResponseLen = 512
)

// told returns the settlement as acks and ledger records have it.
func (s Settlement) told() Settlement {
	if s.Outcome == Delivered {
		s.Response = ""
	}
	return s
}

// CodeOlder is the code of Superseded where the ledger knew of a newer version. Of class
// stale with any other code, the target said so itself.
const CodeOlder = "older"

// CodeGivenUp is the code of an update that an operator has given up.
const CodeGivenUp = "given_up"

// An Entry of the outcome log is one outcome of one update, or one failed
// attempt that will be followed by another.
type Entry struct {
	Key string `json:"key"`
	Op  Op     `json:"op,omitempty"`
	Settlement
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

// An Ack tells a publisher what became of its update. It may come more than
// once, with the same content.
type Ack struct {
	Format  int    `json:"f"`
	Channel string `json:"channel"`
	Key     string `json:"key"`
	Settlement
}

// NewAck returns the ack for a settlement of a key.
func NewAck(channel, key string, s Settlement) Ack {
	return Ack{Format: Format, Channel: channel, Key: key, Settlement: s.told()}
}

// DecodeAcks reads a message of acks, one on each line. Each line that cannot be
// read comes as an error in its place.
func DecodeAcks(data []byte) iter.Seq2[Ack, error] {
	return func(yield func(Ack, error) bool) {
		for line := range bytes.SplitSeq(bytes.TrimSuffix(data, []byte{'\n'}), []byte{'\n'}) {
			if !yield(DecodeAck(line)) {
				return
			}
		}
	}
}

// DecodeAck reads an ack from the wire.
func DecodeAck(data []byte) (Ack, error) {
	var a Ack
	if err := json.Unmarshal(data, &a); err != nil {
		return Ack{}, fmt.Errorf("ack: %w", err)
	}
	if err := CheckFormat(a.Format); err != nil {
		return Ack{}, fmt.Errorf("ack: %w", err)
	}
	return a, nil
}
