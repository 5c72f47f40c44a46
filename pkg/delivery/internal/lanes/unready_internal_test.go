package lanes

import (
	"errors"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

func unready() connectors.Result {
	return connectors.Failed(connectors.Unready, "23503", errors.New("a foreign key refuses the row"))
}

// judged ends a call as the gate judges it.
func (r *rig) judged(batch []*Lane, res connectors.Result) {
	for _, l := range batch {
		a := Answered(res, r.gate.Report(l.Key().Encoded(), l.Standing(), res, false))
		r.m.Concluded(l, &a)
	}
	r.m.CallEnded(false)
	r.do()
	r.commit()
}

func unreadyRig(t *testing.T, mode channels.Mode, most time.Duration) *rig {
	r := newRig(t, mode, func(o *Options) { o.Retry.UnreadyFor = connectors.Duration(most) })
	r.arrive("other", 1)
	r.judged(r.begin("other"), connectors.Done())
	r.arrive("another", 1)
	r.judged(r.begin("another"), connectors.Done())
	r.after(time.Second)
	return r
}

// next lets the time pass until the lane is due.
func (r *rig) next() {
	r.t.Helper()
	due, waits := r.m.NextDue()
	if !waits {
		r.t.Fatal("nothing waits")
	}
	r.after(due.Sub(r.now))
}

// The clock of an update that is not ready runs while others get through, and only then.
func TestUnreadyIsGivenUpWhileOthersGetThrough(t *testing.T) {
	r := unreadyRig(t, channels.Every, 10*time.Second)
	r.arrive("k", 1)
	for range 100 { // nobody else is there
		r.judged(r.begin("k"), unready())
		r.next()
	}
	r.want("letters while nobody gets through", len(r.letters), 0)
	var passed time.Duration
	for v := int64(2); len(r.letters) == 0; v++ {
		if passed > 20*time.Second {
			t.Fatal("it is not given up")
		}
		call := r.begin("k")
		r.arrive("other", v)
		r.judged(r.begin("other"), connectors.Done())
		before := r.now
		r.judged(call, unready())
		if len(r.letters) > 0 {
			break
		}
		r.next()
		passed += r.now.Sub(before)
	}
	r.want("it was tried for", passed >= 8*time.Second, true)
	e := r.letters[0].Entry
	if e.Outcome != events.DeadLettered || e.Class != "unready" || e.Code != "23503" || e.Message == "" {
		t.Errorf("%+v", e)
	}
}

// A newer version is as unready as the one before: the clock goes on, at the next owner, too.
func TestClockOfAnUnreadyKeyGoesOn(t *testing.T) {
	r := unreadyRig(t, channels.Latest, time.Minute)
	r.arrive("k", 1)
	l := r.begin("k")[0]
	r.judged([]*Lane{l}, unready())
	r.arrive("other", 2)
	r.judged(r.begin("other"), connectors.Done()) // it is tried sooner for that
	r.after(time.Second)
	r.judged(r.begin("k"), unready())
	r.want("passed", l.notYet.passed, time.Second)
	r.arrive("k", 2)
	r.commit()
	r.want("passed for the next version", r.m.lanes["k"].notYet.passed, time.Second)
	r.judged(r.begin("k"), unready())

	next := unreadyRig(t, channels.Latest, time.Minute)
	it := next.arrive("k", 3)
	call := next.begin("k")
	rec := &wire.Record{State: wire.StateSettled, UnreadyMS: 5000}
	next.want("the step", next.m.Judge(call[0], rec), Calls)
	next.want("passed for the next owner", call[0].notYet.passed, 5*time.Second)
	next.judged(call, connectors.Done())
	next.want("held", next.m.Holds(it), false)
}

// What an update waits for may have come with another one: it is tried at once then, one
// each second at most.
func TestUnreadyIsTriedSoonerWhenOthersGetThrough(t *testing.T) {
	r := unreadyRig(t, channels.Every, time.Hour)
	r.m.o.NewBackoff = func() Backoff { return &waitsOf{time.Hour} }
	r.arrive("a", 1)
	r.arrive("b", 1)
	r.judged(r.begin("a", "b"), unready())
	ready := func() string {
		r.arrive("other", int64(r.seq)+2)
		batch := r.begin("other")
		r.judged(batch, connectors.Done())
		if r.m.Ready() == 0 {
			return ""
		}
		next, _ := r.m.Next(1, false)
		l := next[0]
		r.judged([]*Lane{l}, unready())
		return l.Key().Encoded()
	}
	var tried []string
	for range 3 {
		tried = append(tried, ready(), ready())
		r.after(soonerEvery / 2)
		tried = append(tried, ready())
		r.after(soonerEvery / 2)
	}
	r.want("tried sooner", tried, "[a   b   a  ]")
}

// An asked-for wait is kept by the next owner, and after an outage.
func TestNextOwnerKeepsAWaitThatWasAskedFor(t *testing.T) {
	for _, after := range []bool{false, true} {
		r := newRig(t, channels.Latest, func(o *Options) { o.AfterOutage = after })
		it := r.arrive("k", 1)
		rec := &wire.Record{State: wire.StateRetrying, Pending: it.Tag, NextAttempt: start().Add(time.Hour), Asked: true}
		call := r.begin("k")
		r.want("the step", r.m.Judge(call[0], rec), Waits)
		due, _ := r.m.NextDue()
		r.want("it waits", due.Sub(r.now), time.Hour)
	}
}
