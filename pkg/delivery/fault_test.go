package delivery_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// failing are the classes of failures that can pass.
var failing = []connectors.Class{connectors.Transient, connectors.Throttled, connectors.Misconfigured, connectors.Unready} //nolint:gochecknoglobals // a constant

// circuit returns that of the first partition; "" if there is none.
func (r *running) circuit() string {
	for _, p := range r.Status().Partitions {
		return p.Circuit
	}
	return ""
}

// A key that always fails, whatever its class, leaves the others alone: each of them is
// delivered at its first attempt, and the channel never waits.
func TestOneOffenderAmongAHundredKeys(t *testing.T) {
	for _, class := range append([]connectors.Class{connectors.Permanent, connectors.Conflict}, failing...) {
		t.Run(class.String(), func(t *testing.T) {
			l := newLab(t, channel("cal", channels.Latest))
			l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
				if a.Key == "bad" {
					return connectors.Failed(class, "x1", errors.New("not this one"))
				}
				return connectors.Done()
			})
			w := l.work("w1")
			l.request(update("cal", "first", 1)) // the worker has met another key
			l.push(update("cal", "bad", 1))
			for k := range 100 {
				l.push(update("cal", fmt.Sprint("k", k), 1))
			}
			for k := range 100 {
				if ack := l.outcome("cal", fmt.Sprint("k", k), 1); ack.Outcome != events.Delivered || ack.Attempts != 1 {
					t.Fatalf("not delivered at once: %+v", ack)
				}
			}
			if s := w.Stats()["cal"]; s.Probes != 0 {
				t.Errorf("the channel has waited: %d probes", s.Probes)
			}
		})
	}
}

// A worker whose first key is refused cannot know that others are not. The next key is
// tried at once, and then the first one is at fault, and ends.
func TestKeyThatIsRefusedByItselfEnds(t *testing.T) {
	cfg := channel("cal", channels.Latest)
	cfg.Retry.MaxAttempts = 3
	l := newLab(t, cfg)
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "bad" {
			return connectors.Failed(connectors.Misconfigured, "403", errors.New("not yours"))
		}
		return connectors.Done()
	})
	w := l.work("w1")
	l.push(update("cal", "bad", 1))
	l.eventually("the channel to be blocked", func() bool { return w.circuit() == "blocked" })
	for k := range 3 {
		if ack := l.request(update("cal", fmt.Sprint("k", k), 1)); ack.Outcome != events.Delivered || ack.Attempts != 1 {
			t.Fatalf("not delivered at once: %+v", ack)
		}
	}
	if ack := l.outcome("cal", "bad", 1); ack.Outcome != events.DeadLettered || ack.Code != "403" || ack.Attempts != 3 {
		t.Errorf("%+v", ack)
	}
}

// Two keys that always fail cannot be told from a target that is down: neither is given up
// by itself, both are probed in turn, and people are told. An operator gives one up; when
// another key gets through the other one ends.
func TestTwoKeysThatAlwaysFail(t *testing.T) {
	cfg := channel("cal", channels.Latest)
	cfg.Retry.MaxAttempts = 2
	l := newLab(t, cfg)
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "one" || a.Key == "two" {
			return connectors.Failed(connectors.Transient, "500", errors.New("internal error"))
		}
		return connectors.Done()
	})
	w := l.work("w1")
	l.push(update("cal", "one", 1))
	l.push(update("cal", "two", 1))
	l.eventually("the circuit to open", func() bool { return w.circuit() == "open" })
	before := len(l.tg.attempts())
	l.eventually("both to be probed, again and again", func() bool {
		_, err := l.registry.Probe(t.Context(), "cal")
		testkit.Must(t, err)
		tried := strings.Join(l.tg.attempts()[before:], " ")
		return strings.Count(tried, "one") >= 3 && strings.Count(tried, "two") >= 3
	})
	for _, key := range []string{"one", "two"} {
		if _, err := l.pub.Outcome(t.Context(), "cal", key, versioning.Tag{Version: testkit.Number(1)}); err == nil {
			t.Fatalf("%s has ended although nobody gets through", key)
		}
	}
	l.eventually("people to be told", func() bool {
		waits := w.Status().Waits
		return len(waits) > 0 && waits[0].Failing != nil && !waits[0].Failing.Since.IsZero() && len(waits[0].Failing.Keys) == 2
	})

	settled, err := l.registry.GiveUp(t.Context(), "cal", "one")
	testkit.Must(t, err)
	if settled.Outcome != events.DeadLettered || settled.Code != events.CodeGivenUp || !strings.Contains(settled.Message, "internal error") {
		t.Errorf("given up as %+v", settled)
	}
	if ack := l.outcome("cal", "one", 1); ack.Code != events.CodeGivenUp || ack.Class != "transient" {
		t.Errorf("its outcome is %+v", ack)
	}
	if _, err := l.registry.GiveUp(t.Context(), "cal", "one"); !errors.Is(err, channels.ErrGiveUp) {
		t.Errorf("given up again: %v", err)
	}
	if ack := l.request(update("cal", "three", 1)); ack.Outcome != events.Delivered || ack.Attempts != 1 {
		t.Fatalf("not delivered at once: %+v", ack)
	}
	if ack := l.outcome("cal", "two", 1); ack.Outcome != events.DeadLettered || ack.Code != "500" || ack.Attempts != 2 {
		t.Errorf("%+v", ack)
	}
}

func TestGivingUpWithoutAWorker(t *testing.T) {
	l := newLab(t, channel("cal", channels.Latest))
	l.push(update("cal", "k", 1))
	if _, err := l.registry.GiveUp(t.Context(), "cal", "k"); !errors.Is(err, channels.ErrNoOwner) {
		t.Errorf("without a worker: %v", err)
	}
	if _, err := l.registry.GiveUp(t.Context(), "no", "k"); !errors.Is(err, channels.ErrNotFound) {
		t.Errorf("a channel that is not there: %v", err)
	}
	if _, err := l.registry.GiveUp(t.Context(), "cal", ""); !errors.Is(err, events.ErrKey) {
		t.Errorf("no key: %v", err)
	}
}

// A key that is throttled spends no attempts, while others are delivered and refused.
func TestThrottledKeySpendsNothing(t *testing.T) {
	cfg := channel("shop", channels.Latest)
	cfg.Retry.MaxAttempts = 2
	l := newLab(t, cfg)
	var throttled atomic.Int64
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		switch {
		case a.Key == "bad":
			return connectors.Failed(connectors.Permanent, "422", errors.New("the title is too long"))
		case a.Key == "k" && throttled.Add(1) <= 4:
			return connectors.Failed(connectors.Throttled, "429", errors.New("slow down"))
		}
		return connectors.Done()
	})
	l.work("w1")
	l.request(update("shop", "other", 1))
	l.push(update("shop", "k", 1))
	if ack := l.request(update("shop", "bad", 1)); ack.Outcome != events.DeadLettered || ack.Attempts != 1 {
		t.Errorf("the one that is refused: %+v", ack)
	}
	for v := int64(2); throttled.Load() < 4; v++ {
		if ack := l.request(update("shop", "other", v)); ack.Outcome != events.Delivered {
			t.Fatalf("another key: %+v", ack)
		}
	}
	if ack := l.outcome("shop", "k", 1); ack.Outcome != events.Delivered || ack.Attempts != 1 {
		t.Errorf("the one that was throttled: %+v", ack)
	}
}

// A target asked for an hour, and was tried again after a quarter of it.
func TestWaitThatWasAskedForIsKept(t *testing.T) {
	for _, class := range failing {
		t.Run(class.String(), func(t *testing.T) {
			l := newLab(t, channel("cal", channels.Latest))
			l.tg.answerWith(func(connectors.Attempt) connectors.Result {
				res := connectors.Failed(class, "x1", errors.New("later"))
				res.RetryAfter = time.Hour
				return res
			})
			began := time.Now()
			first := l.work("w1")
			l.push(update("cal", "k", 1))
			due := func() time.Time {
				rec, err := l.ledger.Get(t.Context(), "cal", "k")
				if err != nil {
					return time.Time{}
				}
				return rec.NextAttempt
			}
			l.eventually("the ledger to say when it is tried again", func() bool { return !due().Before(began.Add(time.Hour).Truncate(time.Second)) })
			first.shutdown(t)
			second := l.work("w2")
			l.eventually("the next owner to have it", func() bool {
				s := second.Status()
				return len(s.Partitions) == 1 && s.Partitions[0].Updates == 1 && s.Partitions[0].Ready == 0
			})
			if n := len(l.tg.attempts()); n != 1 {
				t.Errorf("it was tried %d times", n)
			}
		})
	}
}

// Updates of a key that always fails fill the window of a worker that has met no other key.
// Another key behind them must be seen all the same: it alone can tell that it is not the
// channel.
func TestKeyBehindAFullWindowIsTried(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			cfg := channel("log", mode)
			cfg.Window = 4
			l := newLab(t, cfg)
			l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
				if strings.HasPrefix(a.Key, "bad") {
					return connectors.Failed(connectors.Transient, "500", errors.New("not this one"))
				}
				return connectors.Done()
			})
			for n := range int64(20) {
				if mode == channels.Every {
					l.push(update("log", "bad", n+1))
				} else if n < 5 {
					l.push(update("log", fmt.Sprint("bad", n), 1))
				}
			}
			l.push(update("log", "good", 1))
			l.work("w1")
			if ack := l.outcome("log", "good", 1); ack.Outcome != events.Delivered || ack.Attempts != 1 {
				t.Errorf("%+v", ack)
			}
		})
	}
}

// A child comes before its parent. It was a dead letter at its first attempt; it waits, and
// is there once what it refers to is.
func TestUpdateThatComesTooEarlyIsDelivered(t *testing.T) {
	l := newLab(t, channel("child", channels.Latest))
	var parent atomic.Bool
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "c" && !parent.Load() {
			return connectors.Failed(connectors.Unready, "23503", errors.New("a foreign key refuses the row"))
		}
		return connectors.Done()
	})
	l.work("w1")
	l.push(update("child", "c", 1))
	l.othersPass("child", "c")
	parent.Store(true)
	if ack := l.outcome("child", "c", 1); ack.Outcome != events.Delivered || ack.Attempts != 1 {
		t.Errorf("%+v", ack)
	}
}

// A target that is being deployed answers 404 to everything. All were dead letters at once.
func TestNothingIsGivenUpWhileATargetIsDeployed(t *testing.T) {
	cfg := channel("crm", channels.Latest)
	cfg.Retry.UnreadyFor = connectors.Duration(time.Second)
	l := newLab(t, cfg)
	var there atomic.Bool
	l.tg.answerWith(func(connectors.Attempt) connectors.Result {
		if !there.Load() {
			return connectors.Failed(connectors.Unready, "404", errors.New("not found"))
		}
		return connectors.Done()
	})
	w := l.work("w1")
	for k := range 5 {
		l.push(update("crm", fmt.Sprint("k", k), 1))
	}
	l.eventually("the channel to wait, and to probe", func() bool { return w.circuit() == "open" && w.Stats()["crm"].Probes > 1 })
	there.Store(true)
	for k := range 5 {
		if ack := l.outcome("crm", fmt.Sprint("k", k), 1); ack.Outcome != events.Delivered {
			t.Errorf("k%d: %+v", k, ack)
		}
	}
}

// What is not ready for longer than retry.unready_for, while others get through, is a dead
// letter that says why.
func TestUnreadyEndsWithItsReason(t *testing.T) {
	cfg := channel("crm", channels.Latest)
	cfg.Retry.UnreadyFor = connectors.Duration(time.Second)
	l := newLab(t, cfg)
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "bad" {
			return connectors.Failed(connectors.Unready, "404", errors.New("not found"))
		}
		return connectors.Done()
	})
	l.work("w1")
	l.push(update("crm", "bad", 1))
	ended := func() bool {
		_, err := l.pub.Outcome(t.Context(), "crm", "bad", versioning.Tag{Version: testkit.Number(1)})
		return err == nil
	}
	for v := int64(1); !ended(); v++ {
		if ack := l.request(update("crm", "other", v)); ack.Outcome != events.Delivered {
			t.Fatalf("another key: %+v", ack)
		}
	}
	if ack := l.outcome("crm", "bad", 1); ack.Outcome != events.DeadLettered || ack.Class != "unready" || ack.Code != "404" || ack.Message != "not found" {
		t.Errorf("%+v", ack)
	}
}
