package lanes

import (
	"testing"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// filled has a fill find what a topic has.
func (r *rig) filled(rs *Resync, key string, version int64, seq uint64) *Item {
	it := r.item(key, version, seq)
	r.taken += it.Size
	r.m.Filled(rs, it, r.pin(key))
	r.do()
	return it
}

// A fill was broken off, by a pause or a broker that did not answer, with an update in hand.
// Read again, it counted as done, and the fill with it: had its owner died then, nobody would
// have delivered it.
func TestFillThatWasBrokenOffIsNotDone(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.m.Floor().StartAt(10, 0)
	r.seq = 10
	first := r.m.BeginResync(channels.ResyncProgress{})
	r.filled(first, "k", 1, 3)
	r.filled(first, "called", 1, 4)
	batch := r.begin("k", "called")
	again := r.m.BeginResync(r.m.Progress(first, false))
	r.filled(again, "k", 1, 3)
	r.filled(again, "called", 1, 4)
	r.want("left in hand by the one before", r.m.UnderWay(first), 0)
	r.want("under way", r.m.UnderWay(again), 2)
	if p := r.m.Progress(again, true); p.Cursor >= 3 || p.Delivered != 0 {
		t.Errorf("it counts as delivered: %+v", p)
	}
	r.conclude(batch, connectors.Done())
	r.commit()
	if p := r.m.Progress(again, true); p.Cursor != 4 || p.Delivered != 2 {
		t.Errorf("after the delivery: %+v", p)
	}
	r.want("bytes given back", r.given, r.taken)
}
