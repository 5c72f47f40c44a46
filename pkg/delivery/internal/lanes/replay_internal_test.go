package lanes

import (
	"errors"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// replay asks for a replay, and reports whether it is tried.
func (r *rig) replay(key string, version int64) bool {
	it := r.item(key, version, 0)
	it.Msg = nil
	r.taken += it.Size
	defer r.do()
	return r.m.Replay(it, r.pin(key), r.seq)
}

// over checks how the only replay ended, and forgets it.
func (r *rig) over(want Replayed) {
	r.t.Helper()
	if len(r.replayed) != 1 {
		r.t.Fatalf("%d replays are over, want 1", len(r.replayed))
	}
	got := r.replayed[0]
	r.replayed = nil
	if got.Settled.Outcome != want.Settled.Outcome || got.Settled.By != want.Settled.By || got.Yields != want.Yields || (got.Failure == nil) != (want.Failure == nil) {
		r.t.Errorf("%+v, want %+v", got, want)
	}
}

func outcome(o events.Outcome) Replayed { return Replayed{Settled: events.Settlement{Outcome: o}} }

func TestReplayIsDelivered(t *testing.T) {
	r := newRig(t, channels.Every)
	r.want("it is tried", r.replay("k", 7), true)
	r.want("another of the key", r.replay("k", 8), false)
	r.conclude(r.begin("k"), connectors.Done())
	r.want("over before the log has it", len(r.replayed), 0)
	r.commit()
	r.over(outcome(events.Delivered))
	r.done()
}

func TestReplayThatFailsChangesNothing(t *testing.T) {
	r := newRig(t, channels.Every)
	r.replay("k", 7)
	for range asideTries {
		r.fail("k")
		r.after(time.Minute)
	}
	r.over(Replayed{Failure: &events.Failure{}})
	for _, class := range []connectors.Class{connectors.Permanent, connectors.Conflict} {
		r.replay("k", 7)
		r.conclude(r.begin("k"), connectors.Failed(class, "422", errors.New("no")))
		r.over(Replayed{Failure: &events.Failure{}})
	}
	r.want("commits", len(r.commits), 0)
	r.want("letters", len(r.letters), 0)
	r.done()
}

// A live update goes first, unless the replay is in flight.
func TestReplayYieldsToALiveUpdate(t *testing.T) {
	r := newRig(t, channels.Every)
	r.replay("ready", 7)
	r.arrive("ready", 8)
	r.over(Replayed{Yields: true})
	r.want("in the lane", r.versions("ready"), "[8]")
	r.want("while it is there", r.replay("ready", 7), false)
	r.deliver("ready")

	r.replay("called", 7)
	call := r.begin("called")
	r.arrive("called", 8)
	r.conclude(call, busy())
	r.over(Replayed{Yields: true})
	r.deliver("called")

	r.replay("taken", 7)
	call = r.begin("taken")
	r.arrive("taken", 8)
	r.conclude(call, connectors.Done())
	r.commit()
	r.over(outcome(events.Delivered))
	r.deliver("taken")
	r.done()
}

// In a latest channel a newer version that was given up, too, is what counts.
func TestReplayIsJudgedByTheLedger(t *testing.T) {
	for _, c := range []struct {
		name    string
		mode    channels.Mode
		applied int64 // 0: none
		settled int64
		want    Step
		after   events.Outcome // "": a failure
	}{
		{"the target holds a newer one", channels.Every, 8, 8, Settles, events.Superseded},
		{"a newer one was given up", channels.Every, 6, 8, Calls, ""},
		{"a newer one was given up, latest", channels.Latest, 6, 8, Settles, events.Superseded},
		{"nothing newer", channels.Latest, 6, 7, Calls, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.mode)
			var rec wire.Record
			for n, o := range map[int64]events.Outcome{c.applied: events.Delivered, c.settled: events.DeadLettered} {
				if n == c.settled && c.applied == c.settled {
					o = events.Delivered
				}
				rec.Add(wire.Entry{Key: "k", Op: events.Upsert, Settlement: events.Settlement{Version: testkit.Number(n), Digest: r.item("k", n, 0).Tag.Digest, Outcome: o, At: start()}}, wire.LogPosition{Seq: 1})
			}
			r.replay("k", 7)
			call := r.begin("k")
			r.want("the step", r.m.Judge(call[0], &rec), c.want)
			if c.want == Calls {
				r.conclude(call, connectors.Failed(connectors.Permanent, "422", errors.New("no")))
				r.over(Replayed{Failure: &events.Failure{}})
			} else {
				r.m.CallEnded(false)
				r.do()
				r.commit()
				r.over(Replayed{Settled: events.Settlement{Outcome: c.after, By: testkit.Number(8)}})
			}
			r.done()
		})
	}
}

// A former owner may have brought what has not come yet to the target: the replay of an
// older version would move it back. Found by seed 795908695040, with the race detector.
func TestReplayWaitsForWhatHasNotComeYet(t *testing.T) {
	r := newRig(t, channels.Every)
	r.seq = 5 // of a message that lies in the stream
	r.m.Floor().StartAt(4, 0)
	r.want("before it came", r.replay("k", 7), false)
	r.seq = 4
	r.arrive("k", 8)
	r.deliver("k")
	r.want("when it has its outcome", r.replay("k", 7), true)
	r.conclude(r.begin("k"), connectors.Done())
	r.commit()
	r.done()
}

func TestAbandonedReplay(t *testing.T) {
	r := newRig(t, channels.Every)
	r.replay("k", 7)
	r.m.End()
	r.want("when the partition goes to another", r.replay("other", 1), false)
	r.m.Abandon()
	r.do()
	r.over(Replayed{})
	r.want("bytes given back", r.given, r.taken)
}

// The lanes are let go while the owner's context still lives: a replay that waited for room
// gets it from that, and came in, with bytes that nobody gave back.
func TestReplayAfterTheLanesWereLetGo(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.m.Abandon()
	r.do()
	r.want("it is tried", r.replay("k", 7), false)
	r.want("bytes given back", r.given, r.taken)
}

// Nothing is left behind when whoever asked waits no more, but what is in flight.
func TestReplayThatIsWithdrawn(t *testing.T) {
	r := newRig(t, channels.Every)
	r.replay("ready", 7)
	r.replay("called", 7)
	items := map[string]*Item{}
	for it := range r.m.replays {
		items[it.Update.Key] = it
	}
	r.want("it is taken back", r.m.Withdraw(items["ready"]), true)
	r.do()
	r.over(Replayed{})
	call := r.begin("called")
	r.want("in flight", r.m.Withdraw(items["called"]), false)
	r.conclude(call, busy()) // it waits
	r.want("while it waits", r.m.Withdraw(items["called"]), true)
	r.do()
	r.over(Replayed{})
	r.want("again", r.m.Withdraw(items["called"]), false)
	r.done()
}
