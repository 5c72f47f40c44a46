package wire_test

import (
	"maps"
	"testing"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/events"
)

// What is remembered changes with what the target holds, and with nothing else.
func TestRecordRemembersWhatTheTargetGave(t *testing.T) {
	first, second := events.Refs{"id": "7"}, events.Refs{"id": "7", "etag": "b"}
	with := func(e wire.Entry, op events.Op, refs events.Refs) wire.Entry {
		e.Op, e.Refs = op, refs
		return e
	}
	filtered := wiretest.Entry(t, "4a", events.Delivered)
	filtered.Code = events.CodeFiltered
	var r wire.Record
	for i, step := range []struct {
		entry wire.Entry
		want  events.Refs
	}{
		{with(wiretest.Entry(t, "1a", events.Delivered), events.Upsert, first), first},
		{wiretest.Entry(t, "2a", wire.Retrying), first},
		{wiretest.Entry(t, "2a", events.DeadLettered), first},
		{wiretest.Entry(t, "3a", events.Superseded), first},
		{filtered, first},
		{with(wiretest.Entry(t, "5a", events.Delivered), events.Upsert, second), second},
		{with(wiretest.Entry(t, "1a", events.Delivered), events.Upsert, first), second}, // older than what is there
		{wiretest.Entry(t, "5a", wire.Reset), second},
		{with(wiretest.Entry(t, "1a", events.Delivered), events.Delete, nil), nil},
		{wire.Entry{Key: "k", Settlement: events.Settlement{Outcome: wire.RefsSet}, Refs: first}, first},
	} {
		r.Add(step.entry, wiretest.Place(uint64(i+1)))
		if !maps.Equal(r.Refs, step.want) {
			t.Errorf("step %d: %v is remembered, want %v", i, r.Refs, step.want)
		}
	}
	var alone wire.Record
	alone.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Outcome: wire.RefsSet}, Refs: first}, wiretest.Place(1))
	if alone.State != wire.StateSettled || !maps.Equal(alone.Refs, first) || !alone.Newest().IsZero() {
		t.Errorf("a record of nothing but what is remembered: %+v", alone)
	}
}
