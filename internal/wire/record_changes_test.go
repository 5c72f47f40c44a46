package wire_test

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A resync asks the filter of now about what was delivered before: the outcome that was told
// stays, and the record knows that the configuration has had its say.
func TestRecordKeepsTheOutcomeThatTheFilterConfirms(t *testing.T) {
	entry := func(version int64, content wire.ContentID, code string) wire.Entry {
		return wire.Entry{Key: "k", Content: content, Settlement: events.Settlement{
			Version: versioning.Must(versioning.Number(version)), Outcome: events.Delivered, Code: code, At: time.Unix(version, 0).UTC(),
		}}
	}
	var r wire.Record
	r.Add(entry(1, 7, ""), wiretest.Place(1))
	if r.Outdated(7) || !r.Outdated(8) {
		t.Errorf("outdated under 7: %v, under 8: %v; want false, true", r.Outdated(7), r.Outdated(8))
	}
	before := r.Recent[0]
	r.Add(entry(1, 8, events.CodeFiltered), wiretest.Place(2))
	if r.Recent[0] != before || r.Outdated(8) {
		t.Errorf("%+v, outdated: %v; want %+v, not outdated", r.Recent[0], r.Outdated(8), before)
	}
	r.Add(entry(2, 8, events.CodeFiltered), wiretest.Place(3))
	if got := r.Recent[0]; got.Code != events.CodeFiltered || r.Applied.Version != before.Version || r.Outdated(8) {
		t.Errorf("a version that is kept back: %+v, applied %s", got, r.Applied.Version)
	}
	removed := r
	removed.Add(entry(3, 8, events.CodeRemoved), wiretest.Place(4))
	if removed.Applied.Version != versioning.Must(versioning.Number(3)) || removed.Applied.Op != events.Delete || removed.Refs != nil || removed.Outdated(9) {
		t.Errorf("a version that has removed the key: applied %+v", removed.Applied)
	}
	gone := entry(3, 8, "")
	gone.Op = events.Delete
	r.Add(gone, wiretest.Place(4))
	if r.Outdated(9) {
		t.Error("a tombstone has no content that could be outdated")
	}
	r.Add(entry(4, 8, ""), wiretest.Place(5))
	// An older one that was delivered late says nothing of what the target holds.
	r.Add(entry(1, 9, ""), wiretest.Place(6))
	if !r.Outdated(9) {
		t.Error("an older version was delivered, and the record says that the target holds the newest by that configuration")
	}
}

// The first outcome in a new incarnation made the record forget up to where the updates of
// the one before had theirs: one that the restored broker delivered again, too long ago to be
// listed, got a second outcome.
func TestRecordRemembersWhatEndedBeforeARestore(t *testing.T) {
	before, now := wire.Incarnation(0x692a1b2c00000001), wire.Incarnation(0x692a1bff00000002)
	at := func(i wire.Incarnation, seq uint64) wire.LogPosition {
		return wire.LogPosition{Incarnation: i, Seq: seq}
	}
	entry := func(version int64, sequence uint64, o events.Outcome) wire.Entry {
		return wire.Entry{Key: "k", Sequence: sequence, Settlement: events.Settlement{Version: versioning.Must(versioning.Number(version)), Outcome: o}}
	}
	var r wire.Record
	r.Add(entry(1, 43, events.Delivered), at(before, 1))
	old, fresh := now.Began().Add(-time.Minute), now.Began().Add(time.Minute)
	check := func(when string, seq uint64, stored time.Time, want bool) {
		t.Helper()
		if got := r.Ended(seq, stored, now); got != want {
			t.Errorf("%s: update %d, stored %s, ended: %v, want %v", when, seq, stored, got, want)
		}
	}
	check("restored", 43, old, true)
	check("restored", 43, fresh, false)
	r.Add(entry(2, 50, wire.Retrying), at(now, 2))
	check("a failed attempt", 43, old, true)
	check("a failed attempt", 44, old, false)
	check("a failed attempt", 43, fresh, false)
	r.Add(entry(2, 50, events.Delivered), at(now, 3))
	check("delivered", 43, old, true)
	check("delivered", 50, fresh, true)
	check("delivered", 51, fresh, false)
	// Restored once more: what the second incarnation ended counts, the first one's places do not.
	third := wire.Incarnation(0x692a1cff00000003)
	r.Add(entry(3, 60, wire.Retrying), at(third, 4))
	for seq, want := range map[uint64]bool{43: true, 50: true, 51: false} {
		if got := r.Ended(seq, third.Began().Add(-time.Second), third); got != want {
			t.Errorf("after another restore: update %d ended: %v, want %v", seq, got, want)
		}
	}
}
