package wire_test

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestMarkCovers(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	m := wire.Mark{Sequence: 500, Stored: at}
	for _, c := range []struct {
		name     string
		sequence uint64
		stored   time.Time
		want     bool
	}{
		{"the message itself", 500, at, true},
		{"one before it", 499, at.Add(-time.Second), true},
		{"one behind it", 501, at, false},
		{"a sequence that was given again, later", 499, at.Add(time.Second), false},
		{"one of which nobody knows when", 499, time.Time{}, true},
	} {
		if got := m.Covers(c.sequence, c.stored); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	if (wire.Mark{}).Covers(1, at) {
		t.Error("the zero mark covers a message")
	}
}

// A record's sequence says that all of the key up to there has an outcome. An update that
// was overtaken may leave its lane from the middle, before the one in front of it.
func TestRecordSequenceIsOfWhatWasDeliveredOrGivenUp(t *testing.T) {
	var r wire.Record
	for _, s := range []struct {
		version string
		outcome events.Outcome
		at      uint64
		want    uint64
	}{
		{"5a", events.Superseded, 11, 0},
		{"4a", wire.Retrying, 10, 0},
		{"4a", events.Delivered, 10, 10},
		{"6a", events.DeadLettered, 12, 12},
		{"5a", events.Delivered, 3, 12}, // by a resync
		{"7a", events.Conflict, 13, 13},
	} {
		e := wiretest.Entry(t, s.version, s.outcome)
		e.Sequence = s.at
		r.Add(e, wiretest.Place(r.Seq+1))
		if r.Sequence != s.want {
			t.Errorf("after %s %s at %d: %d, want %d", s.version, s.outcome, s.at, r.Sequence, s.want)
		}
	}
	void := &wire.Void{Updates: wire.Mark{Sequence: 13}}
	r.ChannelID = "id"
	r.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Outcome: wire.Reset}, Void: void}, wiretest.Place(r.Seq+1))
	if r.Void != void || r.ChannelID != "id" || r.Sequence != 0 || !r.Settled.IsZero() {
		t.Errorf("after a reset: %+v", r)
	}
	r.Add(wiretest.Entry(t, "1a", events.Delivered), wiretest.Place(r.Seq+1))
	if r.Void != void {
		t.Error("what is void was forgotten")
	}
}
