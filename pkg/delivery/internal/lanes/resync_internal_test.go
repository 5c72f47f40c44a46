package lanes

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// found has a resync find what a channel has.
func (r *rig) found(rs *Resync, key string, version int64, seq uint64) *Item {
	it := r.item(key, version, seq)
	r.taken += it.Size
	r.m.Found(rs, it, r.pin(key))
	r.do()
	return it
}

func TestResyncYieldsToALiveUpdate(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.m.Floor().StartAt(10, 0)
	r.seq = 10
	rs := r.m.BeginResync(channels.ResyncProgress{})
	r.found(rs, "ready", 1, 1)
	r.found(rs, "waits", 1, 2)
	r.found(rs, "called", 1, 3)
	r.found(rs, "later", 1, 11) // will come by itself
	r.want("under way", r.m.UnderWay(rs), 3)
	batch := r.begin("ready", "waits", "called")
	r.m.Postpone(0, batch[0])
	r.m.Postpone(time.Hour, batch[1])
	r.do()
	r.arrive("ready", 2)
	r.arrive("waits", 2)
	r.arrive("called", 2)
	r.want("the one in flight stays in front", r.versions("called"), "[1 2]")
	r.found(rs, "ready", 2, 4) // a live one is there
	r.want("under way", r.m.UnderWay(rs), 1)
	r.want("there is room for more", r.wake.Resync, true)
	r.conclude(batch[2:], connectors.Done())
	r.commit()
	p := r.m.Progress(rs, true)
	if p.Delivered != 1 || p.Skipped != 4 || p.Cursor != 11 {
		t.Errorf("%+v", p)
	}
	r.deliver("ready", "waits", "called")
	r.want("bytes given back", r.given, r.taken)
}

// Live updates go first, and what a resync has found in the order of the stream.
func TestLiveUpdatesGoBeforeAResync(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.m.Floor().StartAt(10, 0)
	r.seq = 10
	rs := r.m.BeginResync(channels.ResyncProgress{Cursor: 1})
	r.found(rs, "a", 1, 2)
	r.found(rs, "b", 1, 3)
	r.arrive("c", 1)
	r.deliver("c", "a", "b")
	r.want("the cursor", r.m.Progress(rs, true).Cursor, 3)
	r.done()
}

// What the target refuses is reported and changes no outcome; what fails is tried again, a
// few times.
func TestResyncThatFails(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.m.Floor().StartAt(10, 0)
	rs := r.m.BeginResync(channels.ResyncProgress{})
	r.found(rs, "a", 1, 1)
	for range asideTries {
		r.fail("a")
		r.after(time.Minute)
	}
	r.want("outcomes", len(r.commits), 0)
	p := r.m.Progress(rs, true)
	if p.Failed != 1 || len(p.Failures) != 1 || p.Failures[0].Key != "a" {
		t.Errorf("%+v", p)
	}
	r.done()
}

func TestResyncThatIsNotWantedAnyMore(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.m.Floor().StartAt(10, 0)
	rs := r.m.BeginResync(channels.ResyncProgress{})
	r.found(rs, "called", 1, 1)
	call := r.begin("called")
	r.found(rs, "ready", 1, 2)
	r.m.DropResync(rs)
	r.do()
	r.begin()
	r.want("under way", r.m.UnderWay(rs), 1)
	r.conclude(call, busy())
	r.want("what did not end comes again", r.m.Progress(rs, false).Cursor, 1)
	r.done()
}

// An older version than the ledger has is not delivered again.
func TestResyncSkipsWhatIsNotTheNewest(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.m.Floor().StartAt(10, 0)
	rs := r.m.BeginResync(channels.ResyncProgress{})
	it := r.found(rs, "a", 1, 1)
	var rec wire.Record
	rec.Add(wire.Entry{Key: "a", Settlement: events.Settlement{Version: r.item("a", 2, 2).Tag.Version, Digest: it.Tag.Digest, Outcome: events.Delivered, At: start()}}, wire.LogPosition{Seq: 1})
	call := r.begin("a")
	r.want("the step", r.m.Judge(call[0], &rec), Skips)
	r.m.CallEnded(false)
	r.do()
	r.done()
}
