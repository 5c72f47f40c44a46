package lanes

import (
	"slices"
	"strconv"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// remember puts what the record says of a key with the update that is about to be
// attempted. A channel that does not use the values for a while keeps them.
func (m *Lanes) remember(l *Lane, it *Item, rec *wire.Record) {
	it.Refs = rec.Refs
	it.Has = !rec.Applied.IsZero() && rec.Applied.Op != events.Delete
	if m.o.Remembers || m.o.Removes {
		it.Unsure = l.unsure || !m.untouched(it, rec)
	}
}

// untouched reports whether nobody can have called the target for the key since what is
// remembered of it: the update came when this tenure had begun, and nothing was between it
// and what was delivered last, or it is the first of its key. Everything else may have been
// brought to the target by an owner that died before it could say so. Of an upsert that was
// delivered and left nothing to remember, the target has more than is known.
func (m *Lanes) untouched(it *Item, rec *wire.Record) bool {
	if it.Live() && rec.Format == 0 && m.alone {
		return true
	}
	if !it.Live() || it.Msg == nil || it.Seq <= m.since {
		return false
	}
	before, err := strconv.ParseUint(it.Msg.Headers().Get(wire.HeaderExpectedSeq), 10, 64)
	if err != nil { // its publisher did not have the broker check it
		return false
	}
	if rec.Format == 0 { // what was lost by a restore has no record
		return before == 0 && m.original
	}
	follows := before == rec.Sequence || rec.Sequence > m.since // all that was between came in this tenure
	if before == 0 && !m.o.Latest {                             // a work queue keeps a message until the ledger has its outcome
		follows = rec.Sequence < it.Seq
	}
	return follows && rec.Sequence != 0 && rec.Incarnation == m.o.Incarnation &&
		rec.State == wire.StateSettled && rec.Open.IsZero() && rec.Head.IsZero() &&
		(rec.Applied.Tag == rec.Settled && (rec.Applied.Op == events.Delete && m.sameContent(rec) || len(rec.Refs) > 0) || m.keptOut(rec))
}

// sameContent reports whether a resync cannot have brought an upsert of the version that the
// record ends with to the target: it would have had another configuration.
func (m *Lanes) sameContent(rec *wire.Record) bool { return !m.o.Removes || rec.Content == m.o.Content }

// keptOut reports whether the newest version of a key was kept back by the filter of now when
// the target was known to have nothing of the key.
func (m *Lanes) keptOut(rec *wire.Record) bool {
	return m.o.Removes && m.sameContent(rec) && filtered(rec, rec.Settled.Version) &&
		(rec.Applied.IsZero() || rec.Applied.Op == events.Delete) && !lettered(rec)
}

// lettered reports whether an older version may be a dead letter, which a replay may have
// brought to the target and have had no answer.
func lettered(rec *wire.Record) bool {
	return len(rec.Recent) >= wire.RecentMax || slices.ContainsFunc(rec.Recent, func(s events.Settlement) bool {
		return s.Outcome == events.DeadLettered || s.Outcome == events.Conflict
	})
}

// Begins says behind which sequence of the channel's stream no former owner has seen
// anything; first: there was none. original says that the stream was made in the
// installation's incarnation: what it and the ledger do not know was never there.
func (m *Lanes) Begins(since uint64, original, first bool) {
	m.since, m.original, m.alone = since, original, original && first
}

// refsAfter returns what is remembered of the key once the update is delivered.
func refsAfter(it *Item, res *connectors.Result) connectors.Refs {
	if it.Update.Op == events.Delete || res.Code == events.CodeRemoved {
		return nil
	}
	refs := it.Refs.With(res.Remember)
	if refs.Check() != nil {
		return it.Refs
	}
	return refs
}

// mayHaveCalled reports whether the target may have carried out what it gave no answer to.
func mayHaveCalled(res *connectors.Result) bool {
	return res.Class == connectors.Transient && !res.NobodyThere() && !res.Unasked
}
