package lanes

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// parkAtOnce has keys parked with their first failure.
func parkAtOnce(o *Options) { o.ParkAfter = 0 }

// A move that fails half-way leaves a lane whose parked updates are older than the rest,
// and what comes is moved behind them.
func TestMoveThatFailsKeepsTheOrder(t *testing.T) {
	r := newRig(t, channels.Every, parkAtOnce)
	for v := int64(1); v <= 3; v++ {
		r.arrive("k", v)
	}
	r.fail("k")
	if c := r.commits[0]; c.Entry.Outcome != wire.Parked {
		t.Errorf("%+v", c.Entry)
	}
	r.commit()
	l := r.park[0]
	first := r.m.NextMove(l)
	r.m.Moved(l, first, 11)
	second := r.m.NextMove(l)
	r.want("the second", second.Tag.Version, "2")
	r.m.MoveFailed(l, second)
	r.do()
	r.park = nil
	r.begin()
	r.arrive("k", 4) // moves on before its time
	r.want("lanes to park", len(r.park), 1)
	r.ats = 11
	r.move()
	r.want("in the lane", r.versions("k"), "[1 2 3 4]")
	for i, it := range l.queue {
		r.want("place in the parked stream", it.Parked, 11+i)
	}
	r.want("messages let go", len(r.acks), 4)
	r.want("the floor", r.m.Floor().Value(), 4)
	r.after(time.Hour)
	for range 4 {
		r.deliver("k")
	}
	r.want("deleted there", r.deleted, "[11 12 13 14]")
	r.done()
}

// The first of a lane cannot be moved: the key is not parked, and fails as before.
func TestMoveThatFailsAtOnce(t *testing.T) {
	r := newRig(t, channels.Every, parkAtOnce)
	r.arrive("k", 1)
	r.fail("k")
	r.m.MoveFailed(r.park[0], r.m.NextMove(r.park[0]))
	r.do()
	r.want("parked keys", r.m.Hand().Parked, 0)
	r.want("tidy while it is not settled", r.wake.Tidy, false)
	r.park = nil
	r.after(time.Second)
	r.deliver("k")
	r.commit()
	r.want("tidy, for the parked stream may have it", r.wake.Tidy, true)
	r.done()
}

// What lies in the parked stream is looked at for itself only if no lane knows of it.
func TestParkedUpdatesThatNoLaneKnows(t *testing.T) {
	r := newRig(t, channels.Every, parkAtOnce)
	it := r.arrive("k", 1)
	r.want("misses what is held", r.m.Misses(it, "k"), false)
	r.want("misses another", r.m.Misses(r.item("k", 2, 2), "k"), true)
	r.m.lanes["k"].more = true
	r.want("misses what may lie behind", r.m.Misses(r.item("k", 2, 2), "k"), false)
	r.m.lanes["k"].more = false
	rec := &wire.Record{}
	r.want("ended, of a key without a record", r.m.Ended(it, rec), false)
	rec.Add(wire.Entry{Key: "k", Sequence: 1, Settlement: events.Settlement{
		Version: it.Tag.Version, Digest: it.Tag.Digest, Outcome: events.Delivered,
	}}, wire.LogPosition{Seq: 1})
	r.want("ended, once it is recorded", r.m.Ended(it, rec), true)
	r.want("ended, a later one", r.m.Ended(r.item("k", 2, 2), rec), false)
}

func TestRedeliveryOfAParkedUpdateIsSettledAgain(t *testing.T) {
	r := newRig(t, channels.Every, parkAtOnce)
	it := r.arrive("k", 1)
	r.fail("k")
	r.move()
	r.come(r.item("k", 1, 1))
	r.want("acks", len(r.acks), 2)
	r.want("the message", it.Msg, nil)
	r.after(time.Hour)
	r.deliver("k")
	r.done()
}

// One key has more parked updates than are kept in memory. The rest is read when these are
// done; what comes meanwhile stays behind it.
func TestParkedUpdatesBeyondMemory(t *testing.T) {
	const all = ParkedInMemory + 500
	r := newRig(t, channels.Every, parkAtOnce, func(o *Options) { o.Window = 2 * all })
	var items []*Item
	for v := range int64(all) {
		items = append(items, r.arrive("k", v+1))
	}
	r.fail("k")
	r.move()
	r.want("in memory", len(r.versions("k")), ParkedInMemory)
	r.want("held", r.m.Updates(), ParkedInMemory)
	r.want("let go", len(r.dropped), all-ParkedInMemory)
	r.want("messages let go", len(r.acks), all)
	r.arrive("k", all+1) // lies behind what is not in memory
	r.move()
	r.want("in memory", len(r.versions("k")), ParkedInMemory)
	r.after(time.Hour)
	for range ParkedInMemory {
		r.deliver("k")
	}
	r.begin()
	r.want("lanes to read", len(r.load), 1)
	l := r.load[0]
	r.want("from", l.LoadFrom(), ParkedInMemory+1)
	late := r.arrive("k", all+2)
	r.want("it waits for what is read", len(r.park), 0)

	r.m.LoadFailed(l)
	r.do()
	r.load = nil
	r.after(parkRetry)
	r.move() // the late one, behind what is not in memory
	r.want("parked", late.Parked, all+2)
	r.want("held", r.m.Updates(), 0)
	r.want("lanes to read", len(r.load), 1)
	var read []*Item
	for i, it := range append(items[ParkedInMemory:], r.item("k", all+1, all+1), late) {
		again := *it
		again.Parked, again.Size, again.Msg = uint64(ParkedInMemory+1+i), 0, nil
		read = append(read, &again)
	}
	r.m.Loaded(l, read)
	r.do()
	for range len(read) {
		r.deliver("k")
	}
	r.want("deleted there", len(r.deleted), all+2)
	r.done()
}

// What a former owner has parked is there before anything comes.
func TestRecoveredUpdatesGoFirst(t *testing.T) {
	r := newRig(t, channels.Every)
	for v := range int64(ParkedInMemory + 1) {
		it := r.item("k", v+1, uint64(v+1))
		it.Parked, it.Msg, it.Size = uint64(v+1), nil, 0
		r.m.Recovered(it, r.pin("k"))
		r.do()
	}
	r.seq = ParkedInMemory + 1
	r.m.Floor().StartAt(r.seq, 0)
	r.arrive("k", ParkedInMemory+2)
	call := r.begin("k") // it was ready before
	r.conclude(call, connectors.Done())
	r.commit()
	r.want("lanes to park", len(r.park), 1)
	r.want("in memory", r.m.Updates(), ParkedInMemory)
}

func TestWhenAKeyIsParked(t *testing.T) {
	r := newRig(t, channels.Every, func(o *Options) { o.ParkAfter = 30 * time.Second })
	r.arrive("k", 1)
	r.fail("k")
	r.want("one failure", len(r.park), 0)
	r.after(30 * time.Second)
	r.fail("k")
	r.want("it has failed for long", len(r.park), 1)

	r = newRig(t, channels.Every)
	r.arrive("k", 1)
	r.seq = parkBehind
	r.arrive("other", 1)
	r.fail("k", "other")
	r.want("it holds the floor back", len(r.park), 1)

	r = newRig(t, channels.Every, func(o *Options) { o.Window = 4 })
	r.arrive("a", 1)
	r.arrive("b", 1)
	r.fail("a", "b")
	r.want("the window was not looked at again since the first failure", len(r.park), 0)
	r.after(time.Second)
	r.fail("a", "b")
	r.want("failing keys fill half the window", len(r.park), 2)
}

// A key has parked updates that are not in memory, and the parked stream does not answer:
// neither are they read, nor is the next one moved behind them. It was attempted then, and
// those before it were older than what the target held.
func TestMoveThatFailsBehindUpdatesThatAreNotInMemory(t *testing.T) {
	r := newRig(t, channels.Every, parkAtOnce)
	r.m.mostParked = 1
	r.arrive("k", 1)
	r.arrive("k", 2)
	r.fail("k")
	r.move()
	r.after(time.Hour)
	r.deliver("k")
	l := r.load[0]
	r.m.LoadFailed(l)
	r.arrive("k", 3)
	r.m.MoveFailed(r.park[0], r.m.NextMove(r.park[0]))
	r.park = nil
	r.after(parkRetry)
	r.begin()
	r.want("lanes to park", len(r.park), 1)
	r.move()
	r.want("lanes to read", len(r.load), 2)
}

// In a latest channel the worker panicked when a newer version came while parked ones were
// read, for there was no head to leave alone.
func TestUpdateThatComesWhileParkedOnesAreRead(t *testing.T) {
	r := newRig(t, channels.Latest, parkAtOnce)
	r.m.mostParked = 1
	r.arrive("k", 2)
	second := r.arrive("k", 1) // older: it is not overtaken, and the ledger will tell
	r.fail("k")
	r.move()
	r.after(time.Hour)
	r.deliver("k")
	r.arrive("k", 3)
	r.want("in the lane", r.versions("k"), "[3]")
	r.m.Loaded(r.load[0], []*Item{second})
	r.do()
	r.want("in the lane", r.versions("k"), "[1 3]")
}

// After a takeover, updates that are parked beyond memory come again, for the floor was
// not written since. One that came while it was read had two copies in its lane, of which
// the one from the channel's stream was moved again and again, for ever.
func TestUpdateThatComesAgainWhileItIsRead(t *testing.T) {
	r := newRig(t, channels.Every)
	r.m.mostParked = 1
	for v := range int64(2) {
		it := r.item("k", v+1, uint64(v+1))
		it.Parked, it.Msg, it.Size = uint64(v+11), nil, 0
		r.m.Recovered(it, r.pin("k"))
		r.do()
	}
	r.come(r.item("k", 1, 1)) // settled again at once
	r.deliver("k")
	r.come(r.item("k", 2, 2))
	again := r.item("k", 2, 2)
	again.Parked, again.Msg, again.Size = 12, nil, 0
	r.m.Loaded(r.load[0], []*Item{again})
	r.do()
	r.want("lanes to park", len(r.park), 0)
	r.want("acks", len(r.acks), 2)
	r.want("full", r.m.count.inHand, 0)
	r.deliver("k")
	r.want("deleted there", r.deleted, "[11 12]")
	r.m.Floor().StartAt(2, 0)
	r.done()
}

// An update that was overtaken in memory is still in the parked stream when that is read,
// until its outcome is in the log. It is not taken once more.
func TestUpdateThatIsReadWhileItsOutcomeIsOnItsWay(t *testing.T) {
	r := newRig(t, channels.Latest, parkAtOnce)
	r.m.mostParked = 2
	l := func() *Lane { return r.m.lanes["k"] }
	for _, v := range []int64{3, 2, 1} { // none of them is newer than those before
		r.arrive("k", v)
	}
	r.fail("k")
	r.move()
	r.want("in memory", r.versions("k"), "[3 2]")
	r.want("there are more", l().more, true)
	r.commit()
	r.arrive("k", 4)
	r.want("overtaken", len(r.commits), 2)
	pending := r.commits
	r.commits = nil
	r.deliver("k")
	read := l()
	first := read.LoadFrom() - 1
	overtaken := *pending[1].Item
	r.m.Loaded(read, []*Item{&overtaken})
	r.want("it was the last in memory", overtaken.Parked, first)
	r.do()
	r.want("in hand", r.versions("k"), "[]")
	r.commits = pending
	r.commit()
	r.done()
}

// Messages of parked updates stay until the ledger is told of the newest of them.
func TestParkedMessagesStayUntilTheLedgerIsTold(t *testing.T) {
	r := newRig(t, channels.Every, parkAtOnce)
	for v := int64(1); v <= 3; v++ {
		r.arrive("k", v)
	}
	r.fail("k")
	r.commit()
	l := r.park[0]
	for at := uint64(11); ; at++ {
		it := r.m.NextMove(l)
		if it == nil {
			break
		}
		r.m.Moved(l, it, at)
	}
	r.do()
	r.want("messages let go", len(r.acks), 0)
	r.want("commits", len(r.commits), 1)
	told := r.commits[0]
	r.want("told", told.Entry.Version, "3")
	r.want("as", told.Entry.Outcome, wire.Parked)
	r.want("head", told.Entry.Head, true)
	r.want("idle", r.m.Idle(), false)
	r.come(r.item("k", 3, 3)) // again, before it is told
	r.want("messages let go", len(r.acks), 0)
	r.tell()
	r.want("messages let go", len(r.acks), 3)
	r.want("the floor", r.m.Floor().Value(), 3)
}

// An owner who died may have parked an update without telling. Its message comes again.
func TestUpdateThatAFormerOwnerParkedIsTold(t *testing.T) {
	r := newRig(t, channels.Every, parkAtOnce)
	it := r.item("k", 1, 1)
	it.Parked, it.Msg, it.Size = 7, nil, 0
	r.m.Recovered(it, r.pin("k"))
	r.do()
	r.come(r.item("k", 1, 1))
	r.want("messages let go", len(r.acks), 0)
	r.tell()
	r.want("messages let go", len(r.acks), 1)
	r.come(r.item("k", 1, 1))
	r.want("messages let go, once it is told", len(r.acks), 2)
}

// While a call is in flight a version that waits is superseded: the entry says of which no
// outcome is known.
func TestSupersededVersionNamesTheOneInFlight(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.arrive("k", 1)
	r.begin("k")
	r.arrive("k", 2)
	r.arrive("k", 3)
	r.want("commits", len(r.commits), 1)
	r.want("superseded", r.commits[0].Entry.Version, "2")
	r.want("in flight", r.commits[0].Entry.Open, "1")
}

// Nobody can say which of two kinds of versions is newer: the newest of each is told.
func TestHeadsOfBothKindsAreTold(t *testing.T) {
	r := newRig(t, channels.Every, parkAtOnce)
	r.arrive("k", 6)
	r.arrive("k", 7)
	r.arrive("k", 8, func(it *Item) {
		it.Update.Version = versioning.Must(versioning.Time(start()))
		it.Tag.Version = it.Update.Version
	})
	r.fail("k")
	r.commit()
	l := r.park[0]
	for at := uint64(1); ; at++ {
		it := r.m.NextMove(l)
		if it == nil {
			break
		}
		r.m.Moved(l, it, at)
	}
	r.do()
	r.want("entries", len(r.commits), 2)
	r.want("of numbers", r.commits[0].Entry.Version, "7")
	r.want("of times", r.commits[1].Entry.Version, start().Format(time.RFC3339Nano))
	r.commit()
	r.want("messages let go", len(r.acks), 3)
}

// An update is superseded, and its outcome logged, while it is on its way to the parked
// stream: that has to be looked through.
func TestUpdateThatIsSupersededWhileItIsMoved(t *testing.T) {
	for name, arrives := range map[string]bool{"and arrives there": true, "and nobody knows": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, channels.Latest, parkAtOnce)
			r.arrive("k", 1)
			r.fail("k")
			l := r.park[0]
			r.m.Moved(l, r.m.NextMove(l), 1)
			r.do()
			r.commit()
			two := r.arrive("k", 2)
			r.want("moved", r.m.NextMove(l) == two, true)
			r.arrive("k", 3)
			r.commit()
			r.want("held", r.m.Holds(two), false)
			if arrives {
				r.want("taken", r.m.Moved(l, two, 2), false)
			} else {
				r.m.MoveFailed(l, two)
			}
			r.do()
			r.want("tidy", r.wake.Tidy, true)
		})
	}
}

// A key that is parked gives its room in the window back while more of it comes.
func TestHotParkedKeyLeavesRoom(t *testing.T) {
	const window = 4 * tellMost
	r := newRig(t, channels.Every, parkAtOnce, func(o *Options) { o.Window = window })
	v := int64(1)
	r.arrive("k", v)
	r.fail("k")
	r.commit()
	l := r.park[0]
	for at := uint64(1); at < window; at++ {
		for range 2 { // come in the time of one move
			if !r.m.Full() {
				v++
				r.arrive("k", v)
			}
		}
		if it := r.m.NextMove(l); it != nil {
			r.m.Moved(l, it, at)
		}
		r.do()
		r.commit()
	}
	if held := r.m.count.inHand; v < window+tellMost || held == 0 {
		t.Errorf("%d have come, %d are in hand", v, held)
	}
}
