//go:build !race

package ledger

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// The race detector changes what is allocated; this file is left out there.

// What one update allocates on its way through the ledger's view, by step.
func TestAllocationsOfTheHotPath(t *testing.T) {
	var rec, spare wire.Record
	rec.Add(wire.Entry{Key: "k1", Settlement: events.Settlement{
		Version: testkit.Number(6), Outcome: events.Delivered, At: time.UnixMilli(1).UTC(),
	}}, place(1))
	known := newKnown()
	known.add("k1")
	buffer, packed := make([]byte, 0, 1<<10), ""
	v := New(Options{Shared: &Shared{}})
	defer v.Close()
	v.listed = newKnown()
	k := v.Pin("k1")
	testkit.Must(t, v.Load(t.Context(), []*Key{k}))
	entry := wire.Entry{Key: "k1", Settlement: events.Settlement{Version: testkit.Number(7), Outcome: events.Delivered}}
	seen := 0

	for _, step := range []struct {
		name string
		most float64
		run  func()
	}{
		{"look for a new key", 0, func() { _ = known.mayHave("k2") }},
		{"pack a record", 1, func() { packed, buffer, _ = pack(buffer, "k1", &rec) }},
		{"unpack it", 0, func() { _ = unpack("k1", packed, &spare) }},
		{"apply an outcome", 1, func() { apply(v, k, &entry, place(2)) }},
		{"read a record", 0, func() { v.Read(k, func(rec *wire.Record) { seen += len(rec.Recent) }) }},
		{"pin a key again", 0, func() { v.Unpin(v.Pin("k1")) }},
	} {
		if got := testing.AllocsPerRun(200, step.run); got > step.most {
			t.Errorf("%s: %v allocations, it was %v", step.name, got, step.most)
		}
	}
}
