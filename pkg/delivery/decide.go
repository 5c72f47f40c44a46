package delivery

import (
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// step is what to do with an update before any call.
type step uint8

const (
	doCall     step = iota
	doAckAgain      // its outcome is known; it came again
	doSettle        // it has an outcome without a call
	doWait          // its next attempt is not due
	doSkip          // a resync need not deliver it again
	doForget        // it ended before, and its publisher was told
)

type decision struct {
	what       step
	settlement events.Settlement // but for doCall
}

// Codes of outcomes that are decided without the target.
const (
	codeMalformed   = "malformed"
	codeVersionKind = "version_kind"
	codeDigest      = "digest"
	codeBase        = "base"
	codeOlder       = "older"
	codeParkedLost  = "parked_lost"
)

// judge decides by the ledger whether an update may be brought to the target
// (guarantee 2). It has no effects.
func judge(it *item, rec *events.Record, latest bool, now events.Incarnation) decision {
	if it.reset || isVoid(it, rec) {
		return decision{what: doForget}
	}
	if it.malformed != nil {
		return settle(it, events.DeadLettered, connectors.Permanent, codeMalformed, it.malformed.Error())
	}
	if it.resync != nil {
		return judgeResync(it, rec)
	}
	if it.replay {
		return judgeReplay(it, rec, now)
	}
	if s, ok := rec.Find(it.tag); ok {
		return decision{what: doAckAgain, settlement: s}
	}
	verdict, err := versioning.Guard(rec.Settled, it.tag, versioning.Version{})
	if err != nil {
		return settle(it, events.DeadLettered, connectors.Permanent, codeVersionKind, err.Error())
	}
	switch verdict {
	case versioning.Stale:
		if rec.Ended(it.seq, it.published, now) {
			return decision{what: doForget}
		}
		return superseded(it, rec.Settled.Version)
	case versioning.Conflict:
		return settle(it, events.Conflict, connectors.Conflict, codeDigest, "this version was settled with other content before")
	case versioning.Duplicate: // settled so long ago that it is no longer listed
		s := events.Settlement{Version: it.tag.Version, Digest: it.tag.Digest, ID: it.u.ID, Outcome: events.DeadLettered}
		if rec.Applied.Tag == it.tag {
			s.Outcome, s.At = events.Delivered, rec.Applied.At
		}
		return decision{what: doAckAgain, settlement: s}
	case versioning.Newer, versioning.Refused:
	}
	// In a latest channel base was checked against the head when the update was
	// published; versions between may have been skipped rightly.
	if !latest && !it.u.Base.IsZero() && it.u.Base != rec.Applied.Version && !filtered(rec, it.u.Base) {
		return settle(it, events.Conflict, connectors.Conflict, codeBase,
			"it was made from version "+it.u.Base.String()+", but the target holds "+orNone(rec.Applied.Version))
	}
	return decision{what: doCall}
}

// isVoid reports whether an update is of the versions that ended when its key was
// reset: a broker that was killed has brought it back (docs/adr/0032).
func isVoid(it *item, rec *events.Record) bool {
	return rec.Void != nil && rec.Void.Updates.Covers(it.seq, it.published)
}

// endedBefore reports whether an update that the record does not list had an outcome:
// its place in the stream is known as settled, and it is older than what was settled.
// A place alone would not tell: a broker that was restored from older files gives it
// again, to updates that are newer.
func endedBefore(it *item, rec *events.Record, now events.Incarnation) bool {
	return isVoid(it, rec) || rec.Ended(it.seq, it.published, now) && isOlder(it.tag.Version, rec.Settled.Version)
}

// filtered reports whether the newest version of a key is this one and the
// channel's filter kept it back: the target does not hold it, rightly.
func filtered(rec *events.Record, v versioning.Version) bool {
	s, ok := rec.Find(rec.Settled)
	return ok && s.Version == v && s.Outcome == events.Delivered && s.Code == events.CodeFiltered
}

// judgeReplay decides about a dead letter that an operator sends again: it may
// repeat what the target holds, but never move it back.
func judgeReplay(it *item, rec *events.Record, now events.Incarnation) decision {
	// Each replay is a message of its own. One that comes again has its outcome: the
	// record knows its place, and was written after it was stored.
	if s, ok := rec.Find(it.tag); ok && rec.Ended(it.seq, it.published, now) && it.published.Before(s.At) {
		return decision{what: doAckAgain, settlement: s}
	}
	verdict, err := versioning.Guard(rec.Applied.Tag, it.tag, versioning.Version{})
	switch {
	case err != nil:
		return settle(it, events.DeadLettered, connectors.Permanent, codeVersionKind, err.Error())
	case verdict == versioning.Stale:
		return superseded(it, rec.Applied.Version)
	case verdict == versioning.Conflict:
		return settle(it, events.Conflict, connectors.Conflict, codeDigest, "the target holds this version with other content")
	default:
		return decision{what: doCall}
	}
}

func orNone(v versioning.Version) string {
	if v.IsZero() {
		return "none"
	}
	return v.String()
}

func superseded(it *item, by versioning.Version) decision {
	d := settle(it, events.Superseded, connectors.Stale, codeOlder, "")
	d.settlement.By = by
	return d
}

func settle(it *item, o events.Outcome, class connectors.Class, code, msg string) decision {
	return decision{what: doSettle, settlement: events.Settlement{
		Version: it.tag.Version, Digest: it.tag.Digest, ID: it.u.ID, Outcome: o,
		Attempts: it.attempts, Class: class.String(), Code: code, Message: plain.Text(msg, events.MaxMessageLen),
	}}
}
