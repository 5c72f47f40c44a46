package delivery

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

const (
	// settledLately is how long ago a partition may have settled something for it to
	// count as moving without a closer look.
	settledLately = 5 * time.Second
	// firmAfter is for how long a tenure must have lasted until its having nothing to
	// do counts as progress: one that fails again and again has nothing to do either,
	// for a moment.
	firmAfter = 5 * time.Second
)

// A sight is what can be seen of a partition from outside, over all of its tenures:
// whether it moves, and if not, why. It is safe for concurrent use.
type sight struct {
	mu       sync.Mutex
	tenure   *tenure   // nil: between two
	progress time.Time // when it settled something last, or had nothing to do
	trouble  error     // for which its last tenure ended, until there is progress
	since    time.Time // when the trouble began
	// hindrances are what the broker does not let the tenure do, each until it does.
	hindrances map[hindrance]hindered
}

// A hindrance is something that a tenure needs of the broker before it can deliver.
// As text it says, for people, what does not go.
type hindrance string

const (
	readLedger  hindrance = "the ledger cannot be read"
	repeatAck   hindrance = "an ack cannot be sent again"
	readParked  hindrance = "the content of parked updates cannot be read"
	storeHidden hindrance = "an update that NATS clients do not hand out cannot become a dead letter"
	ledgerQuota hindrance = "nothing is delivered for want of room in the ledger"
	deadQuota   hindrance = "updates that are to be given up wait for room for their dead letters"
	parkedQuota hindrance = "keys that fail cannot be moved out of the way of the others"
)

// code returns the code of a hindrance.
func (h hindrance) code() why.Code {
	if h == ledgerQuota || h == deadQuota || h == parkedQuota {
		return why.QuotaFull
	}
	return why.BrokerRefuses
}

type hindered struct {
	err         error
	since, last time.Time
}

// fresh is how long a hindrance counts that has not been met again. What was tried may
// have gone another way: an update was overtaken, say. What clients do not hand out is
// looked for once a minute.
func (h hindrance) fresh() time.Duration {
	if h == storeHidden {
		return 2 * defaultHiddenCheck
	}
	return 15 * ledgerRetry
}

// hinder notes that something does not go; nil: it does.
func (s *sight) hinder(h hindrance, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, was := s.hindrances[h]
	switch {
	case err == nil && was:
		delete(s.hindrances, h)
	case err != nil:
		if !was {
			old.since = time.Now()
		}
		if s.hindrances == nil {
			s.hindrances = map[hindrance]hindered{}
		}
		s.hindrances[h] = hindered{err, old.since, time.Now()}
	}
}

// worst returns what does not go for the longest time, "" if all goes.
func (s *sight) worst(now time.Time) (what hindrance, since time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, is := range s.hindrances {
		if now.Sub(is.last) < h.fresh() && (what == "" || is.since.Before(since)) {
			what, since, err = h, is.since, is.err
		}
	}
	return what, since, err
}

// enter notes a tenure until the returned function is called.
func (s *sight) enter(t *tenure) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenure, s.hindrances = t, nil
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tenure, s.hindrances = nil, nil
	}
}

// troubled notes why a tenure ended.
func (s *sight) troubled(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == nil {
		s.since = time.Now()
	}
	s.trouble = err
}

// progressed notes that a group of outcomes was committed. Failed attempts and
// marks are none.
func (s *sight) progressed(commits []lanes.Commit) {
	if slices.ContainsFunc(commits, func(c lanes.Commit) bool { return wire.Final(c.Entry.Outcome) }) {
		s.moved(time.Now())
	}
}

func (s *sight) moved(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress, s.trouble = now, nil
}

// working notes that a takeover moves, however long it takes.
func (s *sight) working(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress = now
}

func (s *sight) look() (t *tenure, progress, since time.Time, trouble error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenure, s.progress, s.since, s.trouble
}

// wait returns why the partition does not move; false if it does, or has nothing
// to do.
func (p *partition) wait(now time.Time, stallAfter time.Duration) (workers.Wait, bool) {
	t, progress, since, trouble := p.sight.look()
	w := workers.Wait{Channel: p.r.entry.Config.Name, Partitions: []int{p.index}, Stalled: now.Sub(progress) >= stallAfter}
	switch {
	case t != nil && t.takenOver.Load():
		found, waits := t.wait(w, now, progress, trouble)
		if text := p.r.gate.Troubled(); !waits && text != "" {
			found.Code, found.Message, found.Stalled, waits = why.ReloadFailed, text, false, true
		}
		return found, waits
	case trouble != nil:
		w.Code, w.Message, w.Since = why.TakeoverFailed, "the partition cannot be taken over: "+trouble.Error(), since
	case w.Stalled:
		w.Code, w.Message, w.Since = why.TakeoverFailed, "taking the partition over does not come to an end", progress
	default:
		w.Code, w.Message, w.Since = why.TakingOver, "the partition is being taken over", progress
	}
	if refused := p.r.b.refused; refused != nil {
		if err := refused(); err != nil {
			w.Code, w.Message = why.TakeoverFailed, "the partition cannot be taken over: "+err.Error()
		}
	}
	return w, true
}

// wait is partition.wait for a partition that was taken over; w has what is known.
func (t *tenure) wait(w workers.Wait, now, progress time.Time, trouble error) (workers.Wait, bool) {
	t.mu.Lock()
	idle := t.lanes.Updates() == 0
	t.mu.Unlock()
	what, hinderedSince, hindered := t.p.sight.worst(now)
	idle = idle && what == ""
	if idle && now.Sub(t.since) >= firmAfter {
		t.p.sight.moved(now)
	}
	w.Stalled = w.Stalled && !idle
	if held, ok := t.p.r.gate.Held(now); ok && (held.Code != why.RateLimited && held.Code != why.BrokerRefuses || !idle) {
		w.Code, w.Message, w.Since, w.Next, w.Failing = held.Code, held.Message, held.Since, held.Next, held.Failing
		return w, true
	}
	if what != "" && (what.code() != why.BrokerRefuses || now.Sub(hinderedSince) >= settledLately) {
		w.Code, w.Message, w.Since = what.code(), fmt.Sprintf("%s: %v", what, hindered), hinderedSince
		return w, true
	}
	if idle || now.Sub(progress) < settledLately {
		return w, false
	}
	hand := t.hand()
	w.Since = progress
	switch {
	case hand.Ready > 0 && !w.Stalled:
		return w, false
	case trouble != nil && w.Stalled:
		w.Code, w.Message = why.NoProgress, "the partition starts again and again: "+trouble.Error()
	case hand.Ready > 0:
		w.Code = why.NoProgress
		w.Message = fmt.Sprintf("nothing was settled: %d updates held, %d calls in flight", hand.Updates, hand.InFlight)
	case hand.Unready > 0 && hand.Unready == hand.Failing+hand.Waiting:
		w.Code, w.Next = why.Unready, hand.Next
		w.Message = fmt.Sprintf("all that is left are keys whose updates the target cannot take yet: %d", hand.Unready)
	case hand.Failing > 0:
		w.Code, w.Next = why.TargetError, hand.Next
		w.Message = fmt.Sprintf("all that is left are keys that fail and wait for their next attempt: %d of them, and %d that are parked", hand.Failing, hand.Waiting)
	case hand.Waiting > 0:
		w.Code, w.Next = why.Parked, hand.Next
		w.Message = fmt.Sprintf("all that is left are parked keys: %d", hand.Waiting)
	default:
		return w, false
	}
	return w, true
}
