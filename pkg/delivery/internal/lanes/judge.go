package lanes

import (
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A Step is what becomes of an update before any call.
type Step uint8

// The steps.
const (
	Calls     Step = iota // it needs a call
	Repeats               // its outcome is known; it came again
	Settles               // it has an outcome without a call
	Waits                 // its next attempt is not due
	Skips                 // a resync need not deliver it again
	Forgotten             // it ended before, and its publisher was told
)

// A decision is a step and, where it has one, the outcome.
type decision struct {
	what       Step
	settlement events.Settlement
}

// CodeMalformed is the code of an update that cannot be read.
const CodeMalformed = "malformed"

// Codes of the other outcomes that are decided without the target.
const (
	codeVersionKind = "version_kind"
	codeDigest      = "digest"
	codeBase        = "base"
	codeParkedLost  = "parked_lost"
)

// judge decides by the ledger whether an update may be brought to the target
// (guarantee 2). It has no effects.
func judge(it *Item, rec *wire.Record, latest bool, now wire.Incarnation) decision {
	if it.Reset || isVoid(it, rec) {
		return decision{what: Forgotten}
	}
	if it.Malformed != nil {
		return settle(it, events.DeadLettered, connectors.Permanent, CodeMalformed, it.Malformed.Error())
	}
	if it.Resync != nil {
		return judgeResync(it, rec)
	}
	if it.Replay {
		return judgeReplay(it, rec, latest)
	}
	if s, ok := rec.Find(it.Tag); ok {
		return decision{what: Repeats, settlement: s}
	}
	verdict, err := versioning.Guard(rec.Settled, it.Tag, versioning.Version{})
	if err != nil {
		return settle(it, events.DeadLettered, connectors.Permanent, codeVersionKind, err.Error())
	}
	switch verdict {
	case versioning.Stale:
		if rec.Ended(it.Seq, it.Published, now) {
			return decision{what: Forgotten}
		}
		return superseded(it, rec.Settled.Version)
	case versioning.Conflict:
		return settle(it, events.Conflict, connectors.Conflict, codeDigest, "this version was settled with other content before")
	case versioning.Duplicate: // settled so long ago that it is no longer listed
		s := events.Settlement{Version: it.Tag.Version, Digest: it.Tag.Digest, ID: it.Update.ID, Outcome: events.DeadLettered}
		if rec.Applied.Tag == it.Tag {
			s.Outcome, s.At = events.Delivered, rec.Applied.At
		}
		return decision{what: Repeats, settlement: s}
	case versioning.Newer, versioning.Refused:
	}
	// In a latest channel base was checked against the head when the update was
	// published; versions between may have been skipped rightly.
	if !latest && !it.Update.Base.IsZero() && it.Update.Base != rec.Applied.Version && !filtered(rec, it.Update.Base) {
		return settle(it, events.Conflict, connectors.Conflict, codeBase,
			"it was made from version "+it.Update.Base.String()+", but the target holds "+orNone(rec.Applied.Version))
	}
	return decision{what: Calls}
}

// isVoid reports whether an update is of the versions that ended when its key was
// reset: a broker that was killed has brought it back (docs/adr/0032).
func isVoid(it *Item, rec *wire.Record) bool {
	return rec.Void != nil && rec.Void.Updates.Covers(it.Seq, it.Published)
}

// endedBefore reports whether an update that the record does not list had an outcome:
// its place in the stream is known as settled, and it is older than what was settled.
// A place alone would not tell: a broker that was restored from older files gives it
// again, to updates that are newer.
func endedBefore(it *Item, rec *wire.Record, now wire.Incarnation) bool {
	return isVoid(it, rec) || rec.Ended(it.Seq, it.Published, now) && isOlder(it.Tag.Version, rec.Settled.Version)
}

// filtered reports whether the newest version of a key is this one and the
// channel's filter kept it back: the target does not hold it, rightly.
func filtered(rec *wire.Record, v versioning.Version) bool {
	s, ok := rec.Find(rec.Settled)
	return ok && s.Version == v && s.Outcome == events.Delivered && s.Code == events.CodeFiltered
}

// guarded decides by a version that the target holds, or that is newer.
func guarded(it *Item, holds versioning.Tag) decision {
	verdict, err := versioning.Guard(holds, it.Tag, versioning.Version{})
	switch {
	case err != nil:
		return settle(it, events.DeadLettered, connectors.Permanent, codeVersionKind, err.Error())
	case verdict == versioning.Stale:
		return superseded(it, holds.Version)
	case verdict == versioning.Conflict:
		return settle(it, events.Conflict, connectors.Conflict, codeDigest, "the target holds this version with other content")
	default:
		return decision{what: Calls}
	}
}

// judgeResync decides whether the version that a resync found is to be delivered
// again.
func judgeResync(it *Item, rec *wire.Record) decision {
	for _, known := range []versioning.Version{rec.Applied.Version, rec.Settled.Version} {
		if c, err := it.Tag.Version.Compare(known); err != nil || c < 0 {
			return decision{what: Skips}
		}
	}
	return decision{what: Calls}
}

func orNone(v versioning.Version) string {
	if v.IsZero() {
		return "none"
	}
	return v.String()
}

func superseded(it *Item, by versioning.Version) decision {
	d := settle(it, events.Superseded, connectors.Stale, events.CodeOlder, "")
	d.settlement.By = by
	return d
}

func settle(it *Item, o events.Outcome, class connectors.Class, code, msg string) decision {
	return decision{what: Settles, settlement: events.Settlement{
		Version: it.Tag.Version, Digest: it.Tag.Digest, ID: it.Update.ID, Outcome: o,
		Attempts: it.Tries.Spent, Class: class.String(), Code: code, Message: plain.Text(msg, events.MaxMessageLen),
	}}
}
