//go:build !race

package lanes

import (
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/events"
)

// The race detector changes what is allocated; this file is left out there.

// What an update allocates on its way through its lane: the lane, its queue, its place in
// the lineup, and the batch that it goes in.
func TestAllocationsOfAnUpdate(t *testing.T) {
	r := newRig(t, channels.Latest)
	key := r.view.Pin("k")
	var rec wire.Record
	rec.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Version: testkit.Number(6), Outcome: events.Delivered, At: start()}}, wire.LogPosition{Seq: 1})
	it := r.item("k", 7, 1)
	r.want("judging", testing.AllocsPerRun(200, func() { judge(it, &rec, true, 0) }), 0)

	a := Answered(connectors.Done(), gate.Verdict{Counts: true, Closed: start()})
	items := make([]*Item, 0, 300)
	for range cap(items) {
		items = append(items, r.item("k", 7, uint64(len(items)+1)))
	}
	next := 0
	got := testing.AllocsPerRun(200, func() {
		it := items[next]
		next++
		r.m.Arrived(it, key)
		batch, _ := r.m.Next(1, false)
		r.m.Judge(batch[0], &rec)
		r.m.Concluded(batch[0], &a)
		r.m.CallEnded(false)
		c := r.m.Todo().Commits[0]
		r.m.Todo().Clear()
		r.m.Committed(&c)
		r.m.Todo().Clear()
	})
	if got > 4 {
		t.Errorf("an update takes %v allocations, it was 4", got)
	}
	r.want("keys in hand", r.m.Keys(), 0)
}
