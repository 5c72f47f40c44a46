package lanes

import (
	"errors"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/gate"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestUpdatesOfAKeyGoInOrderAndOneAtATime(t *testing.T) {
	r := newRig(t, channels.Every)
	for v := int64(1); v <= 3; v++ {
		r.arrive("a", v)
	}
	r.arrive("b", 1)
	batch := r.begin("a", "b")
	r.begin() // nothing else may begin, of the same keys
	r.conclude(batch, connectors.Done())
	r.begin() // nor before the outcome is in the log
	r.want("in the lane", r.versions("a"), "[1 2 3]")
	r.commit()
	r.want("in the lane", r.versions("a"), "[2 3]")
	r.deliver("a")
	r.deliver("a")
	r.want("settled messages", len(r.acks), 4)
	r.done()
}

func TestNewerVersionSupersedesWhatWaitsAndNotWhatIsInFlight(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.arrive("k", 1)
	call := r.begin("k")
	r.arrive("k", 2)
	r.arrive("k", 3)
	r.want("in the lane", r.versions("k"), "[1 3]")
	r.want("superseded", len(r.commits), 1)
	if c := r.commits[0]; c.Entry.Version != testkit.Number(2) || c.Entry.Outcome != events.Superseded || c.Entry.By != testkit.Number(3) || c.Lane != nil {
		t.Errorf("not 2 by 3: %+v", c)
	}
	r.conclude(call, connectors.Done())
	r.commit()
	r.arrive("k", 2) // older than what waits: the ledger will tell
	r.want("in the lane", r.versions("k"), "[3 2]")
	r.deliver("k")
	r.deliver("k")
	r.done()
}

// A head that fails while a newer version waits is not tried again.
func TestFailedAttemptGivesWayToANewerVersion(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.arrive("k", 1)
	call := r.begin("k")
	r.arrive("k", 2)
	r.conclude(call, busy())
	r.want("outcome", r.commits[0].Entry.Outcome, events.Superseded)
	r.commit()
	r.deliver("k")
	r.done()
}

func TestRedeliveryKeepsTheNewestCopyOnly(t *testing.T) {
	r := newRig(t, channels.Every)
	r.arrive("k", 1)
	for _, n := range []string{"second", "third"} {
		again := r.item("k", 1, 1)
		again.Msg = message{copy: n}
		r.come(again)
	}
	r.want("held", r.m.Updates(), 1)
	r.want("acks", len(r.acks), 0)
	r.deliver("k")
	if len(r.acks) != 1 || r.acks[0].Msg.Reply() != "third" {
		t.Errorf("acked: %v", r.acks)
	}
	r.done()
}

func TestUpdateBelowTheFloorIsSettledAgain(t *testing.T) {
	r := newRig(t, channels.Every)
	r.m.Floor().StartAt(5, 0)
	r.come(r.item("k", 1, 5))
	r.want("acks", len(r.acks), 1)
	r.want("the flush is told", r.wake.Flush, true)
	r.begin()
	r.done()
}

func TestRetriesFollowTheBackoff(t *testing.T) {
	r := newRig(t, channels.Every)
	r.arrive("k", 1)
	for _, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second} {
		r.fail("k")
		due, waits := r.m.NextDue()
		r.want("waits", waits, true)
		r.want("until it is due", due.Sub(r.now), wait)
		r.after(wait - 1)
		r.begin()
		r.after(1)
	}
	res := busy()
	res.RetryAfter = time.Minute
	r.conclude(r.begin("k"), res)
	due, _ := r.m.NextDue()
	r.want("the target asks for time", due.Sub(r.now), time.Minute)
	r.m.Freed(0)
	r.do()
	r.want("once it is back: the key waits as long as it was asked", r.m.Ready(), 0)
	r.m.Hurried()
	r.do()
	r.want("once an operator wants it", r.m.Ready(), 1)
	r.deliver("k")
	r.arrive("k", 2)
	r.fail("k")
	due, _ = r.m.NextDue()
	r.want("another update begins anew", due.Sub(r.now), time.Second)
}

func TestFailuresAreLoggedNowAndThen(t *testing.T) {
	r := newRig(t, channels.Every)
	r.arrive("k", 1)
	var at []time.Duration
	for range 6 {
		r.fail("k")
		for _, c := range r.commits {
			at = append(at, r.now.Sub(start()))
			if c.Item != nil || c.Entry.Outcome != wire.Retrying {
				t.Errorf("%+v", c)
			}
		}
		r.commit()
		due, _ := r.m.NextDue()
		r.after(due.Sub(r.now))
	}
	r.want("logged", at, "[0s 7s 15s]") // at 0, 1, 3, 7, 11 and 15 s it has failed
}

// What was tried counts towards Options.Retry, but for the time in which nobody could.
func TestUpdateIsGivenUp(t *testing.T) {
	r := newRig(t, channels.Every, func(o *Options) { o.Retry.MaxAttempts = 2 })
	r.arrive("k", 1)
	r.fail("k")
	r.after(time.Second)
	call := r.begin("k")
	a := Answered(busy(), gate.Verdict{Shut: true}) // the circuit is open
	r.m.Concluded(call[0], &a)
	r.m.CallEnded(false)
	r.do()
	r.fail("k")
	r.commit() // the failures
	r.want("letters", len(r.letters), 1)
	letter := r.letters[0]
	if letter.Entry.Outcome != events.DeadLettered || letter.Entry.Attempts != 2 {
		t.Fatalf("%+v", letter.Entry)
	}
	r.m.Postpone(time.Second, letter.Lane) // there is no room for it
	r.do()
	r.letters = nil
	r.after(time.Second)
	r.fail("k")
	r.m.Stored(&r.letters[0])
	r.do()
	r.begin()
	r.commit()
	r.done()
}

func TestAttemptsOfAFormerOwnerCount(t *testing.T) {
	r := newRig(t, channels.Every)
	it := r.arrive("k", 1)
	rec := &wire.Record{State: wire.StateRetrying, Pending: it.Tag, Attempts: 7, NextAttempt: start().Add(3 * time.Second)}
	call := r.begin("k")
	r.want("the step", r.m.Judge(call[0], rec), Waits)
	r.m.CallEnded(false)
	r.do()
	r.after(3 * time.Second)
	call = r.begin("k")
	r.want("the step", r.m.Judge(call[0], rec), Calls)
	r.want("attempts", it.Tries.Spent, 7)
	r.conclude(call, connectors.Done())
	r.want("attempts", r.commits[0].Entry.Attempts, 8)
}

func TestWindowCountsWhatIsInHand(t *testing.T) {
	r := newRig(t, channels.Every, func(o *Options) { o.Window, o.ParkAfter = 2, 0 })
	r.arrive("a", 1)
	r.want("full with one", r.m.Full(), false)
	r.arrive("b", 1)
	r.want("full with two", r.m.Full(), true)
	r.fail("a", "b")
	r.move()
	r.want("full with two that are parked", r.m.Full(), false)
	r.want("there is room", r.wake.Pull, true)
	r.want("done", r.m.Done(), 2)
	r.want("received", r.m.Received(), 2)
	r.after(time.Minute)
	r.deliver("a", "b")
	r.done()
}

// An update that has broken a batch before goes alone, and a probe takes a key that has
// not failed yet.
func TestWhatACallIsFor(t *testing.T) {
	r := newRig(t, channels.Every)
	for _, key := range []string{"a", "b", "c"} {
		r.arrive(key, 1)
	}
	batch := r.begin("a", "b", "c")
	r.m.Separate(batch[:2])
	r.m.Postpone(0, batch...)
	r.m.CallEnded(false)
	r.do()
	r.begin("a")
	r.begin("b")
	r.begin("c")

	r = newRig(t, channels.Every)
	r.arrive("poison1", 1)
	r.arrive("poison2", 1)
	r.fail("poison1", "poison2")
	r.after(time.Minute)
	r.arrive("healthy", 1)
	r.arrive("other", 1)
	var order []string
	next, _ := r.m.Next(4, true)
	for _, l := range next {
		order = append(order, l.Key().Encoded())
	}
	r.want("order of a probe", order, "[healthy poison1 poison2 other]")
}

func TestCallsAreBounded(t *testing.T) {
	r := newRig(t, channels.Every, func(o *Options) { o.Calls = 1 })
	r.arrive("a", 1)
	call := r.begin("a")
	r.arrive("b", 1)
	r.begin()
	r.conclude(call, connectors.Done())
	r.deliver("b")
}

// After an outage a latest channel reads its stream again; an every channel, or one that
// holds little, goes on.
func TestAfterAnOutage(t *testing.T) {
	for _, c := range []struct {
		mode    channels.Mode
		keys    int
		refresh bool
	}{{channels.Latest, 5, true}, {channels.Latest, 4, false}, {channels.Every, 5, false}} {
		r := newRig(t, c.mode)
		var keys []string
		for i := range c.keys {
			keys = append(keys, string(rune('a'+i)))
			r.arrive(keys[i], 1)
		}
		r.fail(keys...)
		r.m.Freed(time.Second)
		r.do()
		r.want("read again", r.m.Refreshing(), c.refresh)
		r.want("the owner is told", r.wake.Refresh, c.refresh)
		if c.refresh {
			r.begin()
			r.m.GoOn() // a call hangs
			r.do()
		}
		r.want("ready", r.m.Ready(), c.keys)
	}
}

// Nothing begins once the partition is another owner's, and what is held is given back.
func TestTenureThatHasEnded(t *testing.T) {
	r := newRig(t, channels.Every)
	r.arrive("a", 1)
	r.arrive("b", 1)
	call := r.begin("a", "b")
	r.m.End()
	r.conclude(call[:1], busy())
	r.m.Postpone(time.Second, call[1])
	r.do()
	if _, waits := r.m.NextDue(); waits {
		t.Error("a lane waits for its next attempt")
	}
	r.m.Abandon()
	r.do()
	r.want("bytes given back", r.given, r.taken)
	r.commit()
	r.want("bytes given back", r.given, r.taken)
}

func TestMalformedUpdateIsADeadLetter(t *testing.T) {
	r := newRig(t, channels.Latest)
	r.arrive("k", 1, func(it *Item) { it.Malformed = errors.New("no version") })
	r.arrive("k", 2) // supersedes only what has a version
	call := r.begin("k")
	r.want("the step", r.m.Judge(call[0], &wire.Record{}), Settles)
	r.m.CallEnded(false)
	r.do()
	r.want("code", r.letters[0].Entry.Code, CodeMalformed)
	r.m.Stored(&r.letters[0])
	r.do()
	r.commit()
	r.deliver("k")
	r.done()
}

func TestReplySubjectThatIsNotAllowedIsToldOfOnce(t *testing.T) {
	r := newRig(t, channels.Every)
	it := r.item("k", 1, 1)
	it.Update.ReplyTo = "sync.updates.cal.k"
	for range 2 {
		e := r.m.entry(it, events.Settlement{Outcome: events.Delivered}, nil)
		r.want("reply", e.ReplyTo, "")
	}
	r.want("refused", len(r.m.Todo().Refused), 1)
}

// What comes while a key is being reset is decided about by the record that the reset leaves.
func TestWhatComesDuringAResetWaitsForIt(t *testing.T) {
	r := newRig(t, channels.Every)
	reset := Commit{Key: r.pin("k"), Entry: wire.Entry{Key: "k", Settlement: events.Settlement{Outcome: wire.Reset}}}
	r.want("reset", r.m.Reset(reset), true)
	r.do()
	r.want("idle", r.m.Idle(), false)
	r.arrive("k", 5)
	r.begin() // nothing
	again := reset
	again.Key = r.pin("k")
	r.want("reset again", r.m.Reset(again), false)
	r.do()
	r.commit()
	r.deliver("k")
	r.done()
	reset.Key = r.pin("j")
	r.want("reset of another", r.m.Reset(reset), true)
	r.do()
	r.commit()
	r.done()
}
