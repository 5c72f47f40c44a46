package operate

import (
	"errors"
	"time"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// ErrUnknownKey says that no channel that was asked for knows the key.
var ErrUnknownKey = errors.New("unknown key")

// The states of a key in a channel that are not an outcome or a ledger state.
const (
	StateAbsent    = "absent"    // nothing was ever published
	StatePending   = "pending"   // published, not tried yet
	StateMalformed = "malformed" // what is published cannot be read
	StateFiltered  = "filtered"  // kept back by the channel's filter: the outcome is delivered, and nothing was sent, or the key was deleted there
)

// Whereabouts is where a key's newest update is in one channel.
type Whereabouts struct {
	Channel string `json:"channel"`
	Key     string `json:"key"`
	// State is an outcome of Newest (delivered, superseded, conflict,
	// dead_lettered), retrying or parked, or one of the states above.
	State string `json:"state" doc:"An outcome of the newest version, or absent, pending, retrying, parked, malformed or filtered"`
	standing.Entity
	Newest Copy `json:"newest,omitzero" doc:"The newest version that was published"`
	Target Copy `json:"target,omitzero" doc:"What the target holds through extsync"`
	// Refs are what the target gave for the key and gets back with the next call.
	Refs events.Refs `json:"refs,omitempty" doc:"What the target gave for the key and gets back with the next call"`
	// Attempts that the newest, or the one that is being retried, has spent.
	Attempts int             `json:"attempts,omitempty"`
	Error    *events.Failure `json:"error,omitempty" doc:"Why the last attempt failed"`
	// NextAttempt is never before now: zero if it is due, or not known. While the
	// channel's circuit is not closed it is that of the next probe, for which the key
	// waits.
	NextAttempt time.Time `json:"next_attempt,omitzero" doc:"Never before now; while the circuit is not closed, that of the channel's next probe"`
	// Timeline is there if it was asked for.
	Timeline *wire.Timeline `json:"timeline,omitempty" doc:"What the outcome log says of the key, newest first; if it was asked for"`
}

// Waits reports whether the newest version has no outcome yet.
func (w *Whereabouts) Waits() bool {
	return w.State == StatePending || w.State == string(wire.Retrying) || w.State == string(wire.Parked)
}

// A Copy is one version of a key at one place.
type Copy struct {
	Version versioning.Version `json:"version,omitzero"`
	Digest  versioning.Digest  `json:"digest,omitzero"`
	Op      events.Op          `json:"op,omitempty"`
	At      time.Time          `json:"at,omitzero" doc:"When it was published, or delivered"`
}

// stands says how the key stands.
func (w *Whereabouts) stands(f standing.Facts) {
	if w.Entity = standing.JudgeKey(f); w.Why != nil && w.Why.Code.Probed() {
		w.NextAttempt = w.Why.Next
	}
}

// forget drops a next attempt that is due.
func (w *Whereabouts) forget(now time.Time) {
	if !w.NextAttempt.After(now) {
		w.NextAttempt = time.Time{}
	}
}

// describe fills in the answer from the head and the ledger's record.
func (w *Whereabouts) describe(head Copy, rec wire.Record) {
	w.Refs = rec.Refs
	w.Target = Copy{Version: rec.Applied.Version, Digest: rec.Applied.Digest, Op: rec.Applied.Op, At: rec.Applied.At}
	known := rec.Newest()
	behind, _ := head.Version.Compare(known.Version) // in a work queue the last message may be older
	switch {
	case w.State == StateMalformed:
		return
	case !head.Version.IsZero() && behind >= 0:
		w.Newest = head
	case !known.IsZero():
		w.Newest = Copy{Version: known.Version, Digest: known.Digest}
		if s, _ := rec.Find(known); known == rec.Applied.Tag && s.Code != events.CodeRemoved { // else it was no delete
			w.Newest.Op = rec.Applied.Op
		}
	default:
		return
	}
	newest := versioning.Tag{Version: w.Newest.Version, Digest: w.Newest.Digest}
	if s, ok := rec.OutcomeOf(newest); ok {
		w.State, w.Attempts = string(s.Outcome), s.Attempts
		if s.Outcome == events.Delivered && (s.Code == events.CodeFiltered || s.Code == events.CodeRemoved) {
			w.State = StateFiltered
		}
		if s.Outcome != events.Delivered {
			w.Error = s.Failure()
		}
		return
	}
	w.State = StatePending
	if rec.State == wire.StateRetrying || rec.State == wire.StateParked {
		w.State, w.Attempts = string(rec.State), rec.Attempts
		w.NextAttempt, w.Error = rec.NextAttempt, rec.Error
	}
}
