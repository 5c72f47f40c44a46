package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// State is where the newest known update of a key stands.
type State string

// The states of a ledger record.
const (
	StateSettled  State = "settled"
	StateRetrying State = "retrying"
	StateParked   State = "parked"
)

// RecentMax is how many settlements a record remembers.
const RecentMax = 8

// Applied is what the target holds through extsync.
type Applied struct {
	versioning.Tag
	Op events.Op `json:"op,omitempty"`
	At time.Time `json:"at"`
}

// A Record is what the outcome log adds up to for one key of one channel.
type Record struct {
	Format int    `json:"f"`
	Key    string `json:"key"`
	// LogPosition is the place in the outcome log up to which the record is true.
	LogPosition
	// ChannelID is that of the channel (see MetadataChannelID). A record with another
	// id is none: it is of a channel that had the same name before.
	ChannelID string  `json:"channel_id,omitempty"`
	Applied   Applied `json:"applied,omitzero"`
	// Refs are what the target gave for the key and wants back; nil if there is nothing. A
	// reset of the key leaves them: they are the target's.
	Refs events.Refs `json:"refs,omitempty"`
	// Content is that of the configuration under which the newest version came to the
	// target, was kept back by the filter, or was found to be older than what is there.
	Content ContentID `json:"content,omitempty"`
	// Settled is the newest version with an outcome, delivered or not.
	Settled versioning.Tag `json:"settled,omitzero"`
	// Head is the newest version that was taken in and moved aside, where the channel's
	// stream no longer has it; zero unless it is newer than Settled. See Newest.
	Head versioning.Tag `json:"head,omitzero"`
	// Open is a version that is older than Settled and whose call was in flight when a
	// newer one was superseded: it has no outcome yet, unless Recent has it. Zero if there
	// is none.
	Open versioning.Version `json:"open,omitzero"`
	// Recent holds the last settlements, newest first.
	Recent []events.Settlement `json:"recent,omitempty"`
	State  State               `json:"state"`
	// Pending, Attempts, NextAttempt, TryingMS, Asked and Error describe a delivery that failed
	// and will be tried again; all zero when State is StateSettled.
	Pending     versioning.Tag  `json:"pending,omitzero"`
	Attempts    int             `json:"attempts,omitempty"`
	NextAttempt time.Time       `json:"next_attempt,omitzero"`
	Error       *events.Failure `json:"error,omitempty"`
	TryingMS    int64           `json:"trying_ms,omitempty"` // see Entry
	// UnreadyMS is the key's: a version that is superseded leaves it to the next one.
	UnreadyMS int64 `json:"unready_ms,omitempty"` // see Entry
	Asked     bool  `json:"asked,omitempty"`      // see Entry
	// Sequence is, in the channel's stream, the last update of the key that was
	// delivered or given up: everything of the key up to there has an outcome. It is one
	// of the record's incarnation, see Ended.
	Sequence uint64 `json:"sequence,omitempty"`
	// Former is the same for updates that were stored before the incarnation began.
	Former uint64 `json:"former,omitempty"`
	// Void says what does not count since the key was reset; nil if it never was.
	Void *Void `json:"void,omitempty"`
}

// Add brings the record up to an entry at a place of the outcome log. Entries must
// come in the order of the log, those of one group with the same position; an entry
// from before the record's changes nothing. Copies of the record stay as they are.
func (r *Record) Add(e Entry, at LogPosition) {
	if at.Before(r.LogPosition) {
		return
	}
	if r.Key != e.Key {
		r.Key = strings.Clone(e.Key) // as it may be part of a message's headers
	}
	if r.Incarnation != at.Incarnation { // places are given again
		r.Former, r.Sequence = r.formerly(), 0
	}
	r.Format, r.LogPosition = Format, at
	if e.Outcome == Reset {
		*r = Record{Format: Format, Key: r.Key, ChannelID: r.ChannelID, LogPosition: at, State: StateSettled, Void: e.Void, Refs: r.Refs}
		return
	}
	if e.Outcome == RefsSet {
		r.Refs = e.Refs
		if r.State == "" {
			r.State = StateSettled // the key has no other record
		}
		return
	}
	if e.Version.IsZero() {
		return // a malformed update has no version to remember
	}
	if e.Head {
		if Older(r.Newest().Version, e.Version) && !r.voids(&e, at) {
			r.Head = versioning.Tag{Version: e.Version, Digest: e.Digest}
		}
		return
	}
	if !Final(e.Outcome) {
		r.State = StateRetrying
		if e.Outcome == Parked {
			r.State = StateParked
		}
		r.Pending = versioning.Tag{Version: e.Version, Digest: e.Digest}
		r.Attempts, r.NextAttempt, r.TryingMS = e.Attempts, e.NextAttempt, e.TryingMS
		r.UnreadyMS, r.Asked = e.UnreadyMS, e.Asked
		r.Error = e.Failure()
		return
	}
	tag := versioning.Tag{Version: e.Version, Digest: e.Digest}
	delivered := e.Outcome == events.Delivered
	if delivered && e.Code == events.CodeFiltered {
		if r.delivered(tag) {
			r.Content = e.Content // a resync has asked the filter anew: what became of the update stays
			return
		}
	} else if delivered && !Older(e.Version, r.Applied.Version) {
		r.Applied, r.Refs = Applied{Tag: tag, Op: own(e.Op), At: e.At}, e.Refs
		if e.Code == events.CodeRemoved {
			r.Applied.Op, r.Refs = events.Delete, nil
		}
	}
	newest := atLeast(e.Version, r.Settled.Version)
	if newest && (delivered || e.older()) {
		r.Content = e.Content
	}
	// A conflict with another content of a settled version must not replace it.
	// Nor may one of another kind, whose place among the others nobody knows.
	if newest && (delivered || e.Version != r.Settled.Version) {
		r.Settled = tag
	}
	r.Open = e.Open // whoever settles the next one knows of no call, or of the same
	if atLeast(r.Settled.Version, r.Head.Version) {
		r.Head = versioning.Tag{}
	}
	r.remember(told(e.Settlement))
	if e.Outcome != events.Superseded { // that one may have left its lane from the middle
		r.Sequence = max(r.Sequence, e.Sequence)
	}
	// The end of an older version says nothing of one that is still retried or
	// parked.
	if atLeast(e.Version, r.Pending.Version) {
		r.State, r.Pending = StateSettled, versioning.Tag{}
		r.Attempts, r.TryingMS, r.NextAttempt, r.Error, r.Asked = 0, 0, time.Time{}, nil, false
		if e.Outcome != events.Superseded {
			r.UnreadyMS = 0
		}
	}
}

// Outdated reports whether the target holds of the key what another configuration of the
// channel than the one of now has made of it. A tombstone has no content.
func (r *Record) Outdated(now ContentID) bool {
	return !r.Applied.IsZero() && r.Applied.Op != events.Delete && r.Content != now
}

// delivered reports whether the newest settled version is this one, and was delivered.
func (r *Record) delivered(tag versioning.Tag) bool {
	if r.Settled != tag {
		return false
	}
	s, ok := r.Find(tag)
	return r.Applied.Tag == tag || ok && s.Outcome == events.Delivered
}

// Newest returns the newest version that extsync has taken in, as far as the ledger
// knows, whether it has an outcome or not: what the next one is compared with where the
// stream does not have the key.
func (r *Record) Newest() versioning.Tag {
	newest := r.Settled
	for _, other := range [...]versioning.Tag{r.Pending, r.Head} {
		if !other.IsZero() && (newest.IsZero() || Older(newest.Version, other.Version)) {
			newest = other
		}
	}
	return newest
}

// voids reports whether an entry is about an update of before the key was reset.
func (r *Record) voids(e *Entry, at LogPosition) bool {
	return r.Void != nil && e.Sequence <= r.Void.Updates.Sequence && r.Void.At.After(at.Incarnation.Began())
}

// Ended reports whether everything of the key up to a place in the channel's stream has
// an outcome, the update that was stored there at a time included. now is the
// installation's incarnation: what was stored since it began has a place that another
// update may have had in the record's.
func (r *Record) Ended(seq uint64, stored time.Time, now Incarnation) bool {
	switch {
	case r.Incarnation == now && seq <= r.Sequence:
		return true
	case !stored.Before(now.Began()):
		return false
	case r.Incarnation == now:
		return seq <= r.Former
	default:
		return seq <= r.formerly()
	}
}

// formerly returns the last update that was delivered or given up, whatever its
// incarnation: one of the record's comes behind all that were stored before.
func (r *Record) formerly() uint64 {
	if r.Sequence > 0 {
		return r.Sequence
	}
	return r.Former
}

// own returns an operation that keeps nothing else in memory, such as the headers
// it was read from.
func own(op events.Op) events.Op {
	switch op {
	case events.Upsert:
		return events.Upsert
	case events.Delete:
		return events.Delete
	default:
		return events.Op(strings.Clone(string(op)))
	}
}

// remember puts a settlement in front of Recent, in place of an earlier one of
// the same content. That of the newest version stays, however many older ones are
// replayed: no newer outcome tells what became of it. It makes a new slice: copies
// of the record share the old one.
func (r *Record) remember(s events.Settlement) {
	s.ID = strings.Clone(s.ID)
	recent := append(make([]events.Settlement, 0, min(len(r.Recent)+1, RecentMax+1)), s)
	for _, old := range r.Recent {
		if old.Version != s.Version || old.Digest != s.Digest {
			recent = append(recent, old)
		}
	}
	if len(recent) > RecentMax {
		if last := recent[RecentMax]; last.Version == r.Settled.Version && last.Digest == r.Settled.Digest {
			recent[RecentMax-1] = last
		}
		recent = recent[:RecentMax]
	}
	r.Recent = recent
}

// Older reports whether v is surely older than w; versions of different kinds
// are not.
func Older(v, w versioning.Version) bool {
	c, err := v.Compare(w)
	return err == nil && c < 0
}

// atLeast reports whether v is surely not older than w; every version is not
// Older than none.
func atLeast(v, w versioning.Version) bool {
	c, err := v.Compare(w)
	return err == nil && c >= 0
}

// Find returns the recorded settlement of this very content, or the newest one
// of the version if the tag has no digest.
func (r *Record) Find(tag versioning.Tag) (events.Settlement, bool) {
	for _, s := range r.Recent {
		if s.Version == tag.Version && (s.Digest == tag.Digest || tag.Digest.IsZero()) {
			return s, true
		}
	}
	return events.Settlement{}, false
}

// OutcomeOf returns what became of a version: what is recorded, or Superseded
// when a newer version has an outcome and this one is no longer, or was never,
// recorded, and is not Open. It returns false while neither is so.
func (r *Record) OutcomeOf(tag versioning.Tag) (events.Settlement, bool) {
	if s, ok := r.Find(tag); ok {
		return s, true
	}
	if tag.IsZero() || !Older(tag.Version, r.Settled.Version) || tag.Version == r.Open {
		return events.Settlement{}, false
	}
	s := events.Settlement{Version: tag.Version, Digest: tag.Digest, Outcome: events.Superseded, By: r.Settled.Version}
	if by, ok := r.Find(r.Settled); ok {
		s.At = by.At
	}
	return s, true
}

// Encode returns the stored form.
func (r *Record) Encode() ([]byte, error) { return r.Append(nil) }

// DecodeRecord reads the stored form.
func DecodeRecord(data []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("ledger record: %w", err)
	}
	if err := CheckFormat(r.Format); err != nil {
		return Record{}, fmt.Errorf("ledger: %w", err)
	}
	return r, nil
}
