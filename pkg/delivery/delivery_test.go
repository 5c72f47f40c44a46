package delivery_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

var modes = []channels.Mode{channels.Latest, channels.Every} //nolint:gochecknoglobals // a constant that the language cannot express as one

func TestDeliversAndAcks(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, channel("erp", mode))
			w := l.work("w1")
			for v := int64(1); v <= 3; v++ {
				ack := l.request(update("erp", "p/1", v))
				if ack.Outcome != events.Delivered || ack.Version != testkit.Number(v) || ack.Key != "p/1" || ack.Attempts != 1 {
					t.Fatalf("ack %+v", ack)
				}
			}
			if got := l.tg.versions("p/1"); !slices.Equal(got, []string{"1", "2", "3"}) {
				t.Fatalf("target got %v", got)
			}
			ack := l.request(update("erp", "p/1", 3)) // a duplicate learns the outcome, too
			if ack.Outcome != events.Delivered {
				t.Fatalf("ack of the duplicate %+v", ack)
			}
			w.shutdown(t)
			if got := w.Stats()["erp"]; got.Attempts != 3 || got.Outcomes[events.Delivered] != 3 {
				t.Fatalf("stats %+v", got)
			}
		})
	}
}

func TestLatestSkipsVersionsThatWereReplacedBeforeTheWorkerSawThem(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	for v := int64(1); v <= 10; v++ {
		l.push(update("cal", "k", v))
	}
	l.work("w1")
	if ack := l.outcome("cal", "k", 10); ack.Outcome != events.Delivered {
		t.Fatalf("newest: %+v", ack)
	}
	if got := l.tg.versions("k"); !slices.Equal(got, []string{"10"}) {
		t.Fatalf("target got %v", got)
	}
	if ack := l.outcome("cal", "k", 4); ack.Outcome != events.Superseded || ack.By != testkit.Number(10) {
		t.Fatalf("older: %+v", ack)
	}
}

func TestEveryDeliversEachVersionInOrderInspiteOfFailures(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("log", channels.Every))
	var calls atomic.Int64
	l.tg.answerWith(func(connectors.Attempt) connectors.Result {
		if calls.Add(1)%3 == 0 {
			return connectors.Failed(connectors.Transient, "503", errors.New("busy"))
		}
		return connectors.Done()
	})
	l.work("w1")
	const keys, versions = 5, 20
	for v := int64(1); v <= versions; v++ {
		for k := range keys {
			l.push(update("log", fmt.Sprint("k", k), v))
		}
	}
	var want []string
	for v := range versions {
		want = append(want, fmt.Sprint(v+1))
	}
	for k := range keys {
		key := fmt.Sprint("k", k)
		if ack := l.outcome("log", key, versions); ack.Outcome != events.Delivered {
			t.Fatalf("not delivered: %+v", ack)
		}
		if got := l.tg.versions(key); !slices.Equal(got, want) {
			t.Fatalf("key %s got %v", key, got)
		}
	}
}

func TestNewerVersionTakesOverFromAFailingOne(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Version == testkit.Number(7) {
			return connectors.Failed(connectors.Transient, "500", errors.New("cannot take version 7"))
		}
		return connectors.Done()
	})
	l.work("w1")
	l.push(update("cal", "k", 7))
	l.eventually("a failed attempt in the ledger", func() bool {
		rec, err := l.ledger.Get(t.Context(), "cal", "k")
		return err == nil && rec.State == wire.StateRetrying && rec.Error.Code == "500"
	})
	if ack := l.request(update("cal", "k", 8)); ack.Outcome != events.Delivered {
		t.Fatalf("not delivered: %+v", ack)
	}
	if ack := l.outcome("cal", "k", 7); ack.Outcome != events.Superseded || ack.By != testkit.Number(8) {
		t.Fatalf("not superseded by 8: %+v", ack)
	}
}

// An update is tried for retry.max_age; the time that its target was down is not
// part of it.
func TestGivingUpByAge(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Every)
	cfg.Retry.MaxAttempts, cfg.Retry.MaxAge = 1000, connectors.Duration(time.Second)
	l := newLab(t, cfg)
	started := time.Now()
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "others" {
			return connectors.Done()
		}
		return connectors.Failed(connectors.Transient, "503", errors.New("busy"))
	})
	l.work("w1")
	l.push(update("cal", "k", 1))
	ack := l.outcomeAmongOthers("cal", "k")
	if ack.Outcome != events.DeadLettered || ack.Attempts < 2 || time.Since(started) < time.Second {
		t.Fatalf("not dead-lettered after several attempts and a second: %+v after %s", ack, time.Since(started))
	}
}

func TestGivingUp(t *testing.T) {
	tests := []struct {
		name     string
		class    connectors.Class
		attempts int
		want     events.Outcome
		dead     bool
	}{
		{"permanent", connectors.Permanent, 1, events.DeadLettered, true},
		{"conflict", connectors.Conflict, 1, events.Conflict, true},
		{"transient until attempts are spent", connectors.Transient, 4, events.DeadLettered, true},
		{"stale", connectors.Stale, 1, events.Superseded, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := channel("cal", channels.Latest)
			cfg.Retry.MaxAttempts = 4
			l := newLab(t, cfg)
			l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
				if a.Key == "others" {
					return connectors.Done()
				}
				return connectors.Failed(tt.class, "x1", errors.New("because\nof this"))
			})
			l.work("w1")
			l.push(update("cal", "k", 1))
			ack := l.outcomeAmongOthers("cal", "k")
			if ack.Outcome != tt.want || ack.Attempts != tt.attempts || ack.Code != "x1" || ack.Message != "because of this" {
				t.Fatalf("not what the target said: %+v", ack)
			}
			dead, err := l.JS.Stream(t.Context(), wire.DeadStream(events.DefaultNames()))
			testkit.Must(t, err)
			msg, err := dead.GetLastMsgForSubject(t.Context(), wire.DeadLetter(events.DefaultNames(), "cal", "k"))
			if got := err == nil; got != tt.dead {
				t.Fatalf("dead letter there: %v (%v)", got, err)
			}
			if tt.dead && (msg.Header.Get(wire.HeaderDeadReason) != "because of this" || string(msg.Data) != `{"key":"k","version":1}`) {
				t.Fatalf("dead letter %v %s", msg.Header, msg.Data)
			}
		})
	}
}

func TestGateOfATargetThatIsDownSpendsNoAttempts(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.Retry.MaxAttempts = 8
	l := newLab(t, cfg)
	var down atomic.Bool
	down.Store(true)
	l.tg.answerWith(func(connectors.Attempt) connectors.Result {
		if down.Load() {
			return connectors.Failed(connectors.Transient, "refused", errors.New("nobody there"))
		}
		return connectors.Done()
	})
	w := l.work("w1")
	for k := range 50 {
		l.push(update("cal", fmt.Sprint("k", k), 1))
	}
	l.eventually("the circuit to have probed", func() bool { return w.Stats()["cal"].Probes > 1 })
	down.Store(false)
	for k := range 50 {
		if ack := l.outcome("cal", fmt.Sprint("k", k), 1); ack.Outcome != events.Delivered {
			t.Fatalf("not delivered: %+v", ack)
		}
	}
}

func TestMisconfiguredBlocksTheChannelAndDeadLettersNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	var expired atomic.Bool
	expired.Store(true)
	l.tg.answerWith(func(connectors.Attempt) connectors.Result {
		if expired.Load() {
			return connectors.Failed(connectors.Misconfigured, "401", errors.New("token expired"))
		}
		return connectors.Done()
	})
	w := l.work("w1")
	for k := range 300 {
		l.push(update("cal", fmt.Sprint("k", k), 1))
	}
	l.eventually("the block to be probed", func() bool { return w.Stats()["cal"].Probes > 0 })
	expired.Store(false)
	for k := range 300 {
		if ack := l.outcome("cal", fmt.Sprint("k", k), 1); ack.Outcome != events.Delivered || ack.Attempts != 1 {
			t.Fatalf("not delivered at the first attempt: %+v", ack)
		}
	}
	if got := w.Stats()["cal"].Outcomes[events.DeadLettered]; got != 0 {
		t.Fatalf("%d dead letters", got)
	}
}

func TestConnectorThatPanicsIsIsolated(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.Retry.MaxAttempts = 3
	l := newLab(t, cfg)
	l.tg.batch = 10
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "poison" {
			panic("cannot happen")
		}
		return connectors.Done()
	})
	l.push(update("cal", "poison", 1))
	for k := range 20 {
		l.push(update("cal", fmt.Sprint("k", k), 1))
	}
	l.work("w1")
	for k := range 20 {
		if ack := l.outcome("cal", fmt.Sprint("k", k), 1); ack.Outcome != events.Delivered {
			t.Fatalf("not delivered: %+v", ack)
		}
	}
	if ack := l.outcomeAmongOthers("cal", "poison"); ack.Outcome != events.DeadLettered || ack.Code != "connector_fault" {
		t.Fatalf("not dead-lettered as a fault of the connector: %+v", ack)
	}
}

func TestHandOverToAnotherWorkerAndBack(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			cfg := channel("cal", mode)
			cfg.Partitions = 4
			l := newLab(t, cfg)
			a := l.work("a")
			const keys = 40
			next := int64(1)
			round := func() {
				for k := range keys {
					l.push(update("cal", fmt.Sprint("k", k), next))
				}
				for k := range keys {
					if ack := l.outcome("cal", fmt.Sprint("k", k), next); ack.Outcome != events.Delivered {
						t.Fatalf("not delivered: %+v", ack)
					}
				}
				next++
			}
			round()
			b := l.work("b")
			l.eventually("b to own partitions", func() bool { return b.Stats()["cal"].Takeovers >= 2 })
			round()
			a.shutdown(t)
			round()
			if got := b.Stats()["cal"].Takeovers; got < 4 {
				t.Fatalf("b took over %d partitions", got)
			}
			for k := range keys {
				if got := l.tg.versions(fmt.Sprint("k", k)); !slices.Equal(got, []string{"1", "2", "3"}) {
					t.Fatalf("key k%d got %v", k, got)
				}
			}
		})
	}
}

// A key that is delivered after all takes its dead letters along; the letter of a
// newer version stays.
func TestDeliveryRemovesTheDeadLettersOfItsKey(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Version == testkit.Number(2) {
			return connectors.Done()
		}
		return connectors.Failed(connectors.Permanent, "400", errors.New("no"))
	})
	l.work("w1")
	dead, err := l.JS.Stream(t.Context(), wire.DeadStream(events.DefaultNames()))
	testkit.Must(t, err)
	letters := func() uint64 {
		info, err := dead.Info(t.Context())
		testkit.Must(t, err)
		return info.State.Msgs
	}
	for i, want := range []uint64{1, 0, 1} {
		l.request(update("cal", "k", int64(i+1)))
		l.eventually(fmt.Sprintf("%d dead letters after version %d", want, i+1), func() bool { return letters() == want })
	}
}
