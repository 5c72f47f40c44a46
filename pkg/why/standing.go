package why

import (
	"cmp"
	"slices"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// Sync says what the target holds of a key, by what extsync knows: its ledger and what the
// target has answered. A stored record never proves what the target holds right now: only
// an audit asks.
type Sync string

// What the target may hold. Two more words belong to this axis and have no cause yet:
// "missing" and "drifted" will be what an audit has found of a key.
const (
	// InSync: the target took the newest accepted version, as the channel's configuration of
	// now makes it. A delete that it took is in sync, too.
	InSync Sync = "in_sync"
	// Waiting: a newer version was accepted, nothing has been tried, and it will be by itself.
	Waiting Sync = "waiting"
	// Behind: the target holds an older version, or none, or what an older configuration has
	// made; and the newest has failed, is parked, is held back until somebody acts, or was
	// given up.
	Behind Sync = "behind"
	// Ahead: the target has answered that it holds a newer version than the newest accepted.
	Ahead Sync = "ahead"
	// Filtered: the channel's filter of now keeps the newest version back, and the target
	// holds what it held before.
	Filtered Sync = "filtered"
	// Unknown: nothing tells what the target should hold. No version was accepted, the newest
	// message cannot be read, or a filter kept it back that has changed since.
	Unknown Sync = "unknown"
)

// Syncs returns all of them, the best first.
func Syncs() []Sync { return []Sync{InSync, Filtered, Waiting, Behind, Ahead, Unknown} }

// Health says whether a key, or a channel, moves by itself.
type Health string

// How it may move. One more word belongs to this axis and has no cause yet: "on_hold".
const (
	// HealthOK: it moves, or there is nothing to do.
	HealthOK Health = "ok"
	// HealthRetrying: it has failed, or was asked to wait, and is tried again by itself.
	HealthRetrying Health = "retrying"
	// HealthParked: the same, out of the way of other keys.
	HealthParked Health = "parked"
	// HealthDead: the newest version was given up. It goes on with a newer version or a
	// replay.
	HealthDead Health = "dead"
	// HealthDown: the target does not answer anybody. It is probed, and goes on by itself.
	HealthDown Health = "down"
	// HealthPaused: somebody has paused or deleted the channel.
	HealthPaused Health = "paused"
	// HealthBlocked: nothing is delivered until somebody acts.
	HealthBlocked Health = "blocked"
)

// Healths returns all of them, the best first. What concerns the whole channel is worse than
// what concerns a key.
func Healths() []Health {
	return []Health{HealthOK, HealthRetrying, HealthParked, HealthDead, HealthDown, HealthPaused, HealthBlocked}
}

// Worse returns the worse of two healths. One that is not known is as good as none.
func Worse(a, b Health) Health {
	if all := Healths(); slices.Index(all, b) > slices.Index(all, a) {
		return b
	}
	return a
}

// A Standing is how a key stands, on both axes and by one reason. The zero Standing is that
// of no key.
type Standing struct {
	Sync   Sync
	Health Health
	Code   Code // "": nothing is to be said
}

// Compare orders standings, those with the most urgent code first.
func (s Standing) Compare(o Standing) int {
	return cmp.Or(Compare(s.Code, o.Code), cmp.Compare(s.Sync, o.Sync), cmp.Compare(s.Health, o.Health))
}

// OfRecord returns how a key stands by its record in the ledger alone. now is that of the
// channel's configuration. It is the zero Standing for a record without a version.
func OfRecord(rec *wire.Record, now wire.ContentID) Standing {
	switch rec.State {
	case wire.StateParked:
		return Standing{Behind, HealthParked, Parked}
	case wire.StateRetrying:
		return OfFailure(rec.Error)
	case wire.StateSettled:
	}
	newest := rec.Newest()
	switch {
	case newest.IsZero():
		return Standing{}
	case newest != rec.Settled: // it was parked behind one that has ended, and is next
		return Standing{Waiting, HealthOK, Pending}
	}
	s, ok := rec.Find(newest)
	if !ok { // settled long ago
		s.Outcome = events.DeadLettered
		if rec.Applied.Tag == newest {
			s.Outcome = events.Delivered
		}
	}
	return settled(rec, &s, now)
}

// settled returns how a key stands whose newest version has an outcome.
func settled(rec *wire.Record, s *events.Settlement, now wire.ContentID) Standing {
	switch {
	case keptBack(s) && rec.Content == now:
		return Standing{Filtered, HealthOK, ""}
	case keptBack(s):
		return Standing{Unknown, HealthOK, MappingChanged}
	case s.Outcome == events.Delivered && rec.Outdated(now):
		return Standing{Behind, HealthOK, MappingChanged}
	case s.Outcome == events.Delivered:
		return Standing{InSync, HealthOK, ""}
	case s.Outcome == events.Conflict:
		return Standing{Behind, HealthDead, Conflict}
	case s.Outcome == events.DeadLettered && slices.Contains(mappingCodes(), s.Code):
		return Standing{Behind, HealthDead, MappingFailed}
	case s.Outcome == events.DeadLettered:
		return Standing{Behind, HealthDead, DeadLettered}
	case s.Class != "" && s.Code != events.CodeOlder:
		return Standing{Ahead, HealthOK, TargetNewer}
	default: // a version of ours has overtaken it, and has no outcome yet
		return Standing{Waiting, HealthOK, Pending}
	}
}

// keptBack reports whether the channel's filter has kept a version back.
func keptBack(s *events.Settlement) bool {
	return s.Outcome == events.Delivered && (s.Code == events.CodeFiltered || s.Code == events.CodeRemoved)
}

// mappingCodes are those of package transform.
func mappingCodes() []string { return []string{"filter_failed", "mapping_failed", "render_failed"} }

// OfFailure returns how a key stands whose newest version has failed, not for good, by its
// last failure; nil: it is not known.
func OfFailure(f *events.Failure) Standing {
	s := Standing{Behind, HealthRetrying, TargetError}
	if f == nil {
		return s
	}
	switch f.Class { // the names of connectors.Class
	case "throttled":
		s.Code = RateLimited
	case "unready":
		s.Code = Unready
	case "misconfigured":
		s.Code = Suspect
	}
	return s
}

// Held returns how a key stands whose newest version has no outcome, given how it stands by
// itself and the reason for which its partition does not move; "": it does.
func (s Standing) Held(by Code) Standing {
	switch h := by.Health(); {
	case h == HealthBlocked || h == HealthPaused:
		return Standing{Behind, h, by}
	case h == HealthDown, by == TakingOver, by == Opening, by == Changing, by == Filling:
		return Standing{s.Sync, Worse(s.Health, h), by}
	case by == RateLimited && s.Health != HealthParked:
		return Standing{s.Sync, HealthRetrying, by}
	default: // what is said of other keys
		return s
	}
}
