package delivery_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
)

// A failing key fills the window with its versions; the other keys go on, and
// when it recovers, on another worker, all of its versions come in order.
func TestParkedKeyHoldsNobodyUpAndSurvivesItsWorker(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			cfg := channel("cal", mode)
			cfg.Window, cfg.Retry.MaxAttempts = 16, 1000
			l := newLab(t, cfg)
			var poisoned atomic.Bool
			poisoned.Store(true)
			l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
				if a.Key == "bad" && poisoned.Load() {
					return connectors.Failed(connectors.Transient, "500", errors.New("not this one"))
				}
				return connectors.Done()
			})
			a := l.work("a")
			const versions = 100
			for v := int64(1); v <= versions; v++ {
				l.push(update("cal", "bad", v))
			}
			for k := range 40 {
				l.push(update("cal", fmt.Sprint("k", k), 1))
			}
			for k := range 40 {
				if ack := l.outcome("cal", fmt.Sprint("k", k), 1); ack.Outcome != events.Delivered {
					t.Fatalf("not delivered: %+v", ack)
				}
			}
			if mode == channels.Every {
				l.eventually("the key to be parked", func() bool {
					rec, err := l.ledger.Get(t.Context(), "cal", "bad")
					return err == nil && rec.State == wire.StateParked && parked(l) == versions
				})
			}
			a.shutdown(t)
			l.work("b")
			poisoned.Store(false)
			if ack := l.outcome("cal", "bad", versions); ack.Outcome != events.Delivered {
				t.Fatalf("not delivered: %+v", ack)
			}
			got := l.tg.versions("bad")
			if mode == channels.Every && (len(got) != versions || !slices.IsSortedFunc(got, byNumber)) {
				t.Fatalf("target got %v", got)
			}
			l.eventually("the parked stream to be empty", func() bool { return parked(l) == 0 })
		})
	}
}

func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

func parked(l *lab) uint64 {
	l.t.Helper()
	s, err := l.JS.Stream(l.t.Context(), wire.ParkedStream(events.DefaultNames()))
	testkit.Must(l.t, err)
	info, err := s.Info(l.t.Context(), jetstream.WithSubjectFilter(">"))
	testkit.Must(l.t, err)
	return info.State.Msgs
}

// More updates of one key are parked than may lie in memory.
func TestParkedUpdatesBeyondMemoryAreReadBackInOrder(t *testing.T) {
	t.Parallel()
	cfg := channel("log", channels.Every)
	cfg.Window, cfg.Retry.MaxAttempts = 16, 1000
	l := newLab(t, cfg)
	var poisoned atomic.Bool
	poisoned.Store(true)
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "bad" && poisoned.Load() {
			return connectors.Failed(connectors.Transient, "500", errors.New("not yet"))
		}
		return connectors.Done()
	})
	l.work("a")
	l.request(update("log", "other", 1)) // it is not the channel that fails

	const versions = 1200 // more than ParkedInMemory
	for v := int64(1); v <= versions; v++ {
		l.push(update("log", "bad", v))
	}
	l.eventually("all to be parked", func() bool { return parked(l) == versions })
	poisoned.Store(false)
	l.outcome("log", "bad", versions)
	got := l.tg.versions("bad")
	if len(got) != versions || !slices.IsSortedFunc(got, byNumber) {
		t.Fatalf("target got %d versions, sorted %v", len(got), slices.IsSortedFunc(got, byNumber))
	}
	l.eventually("the parked stream to be empty", func() bool { return parked(l) == 0 })
}

func TestNewerVersionFreesAParkedKey(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.Window, cfg.Retry.MaxAttempts = 1, 1000
	l := newLab(t, cfg)
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Version == testkit.Number(1) {
			return connectors.Failed(connectors.Transient, "500", errors.New("not version 1"))
		}
		return connectors.Done()
	})
	l.work("a")
	l.push(update("cal", "bad", 1))
	l.eventually("the key to be parked", func() bool { return parked(l) == 1 })
	if ack := l.request(update("cal", "bad", 2)); ack.Outcome != events.Delivered {
		t.Fatalf("not delivered: %+v", ack)
	}
	if ack := l.outcome("cal", "bad", 1); ack.Outcome != events.Superseded || ack.By != testkit.Number(2) {
		t.Fatalf("not superseded by 2: %+v", ack)
	}
	l.eventually("the parked stream to be empty", func() bool { return parked(l) == 0 })
}

// The payload of a parked key that fails again and again is read once by a worker
// that did not park it, and never by the one that did.
func TestPayloadOfAParkedKeyStaysBetweenAttempts(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Every)
	cfg.Window, cfg.Retry.MaxAttempts = 2, 1000
	l := newLab(t, cfg)
	var attempts atomic.Int64
	var poisoned atomic.Bool
	poisoned.Store(true)
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "other" { // it is not the channel that fails
			return connectors.Done()
		}
		if want := update(a.Channel, a.Key, 1).Payload; !bytes.Equal(a.Payload, want) {
			t.Errorf("attempt %d has the payload %q", a.Number, a.Payload)
		}
		if attempts.Add(1); poisoned.Load() {
			return connectors.Failed(connectors.Transient, "500", errors.New("not this one"))
		}
		return connectors.Done()
	})
	names := events.DefaultNames()
	reads, err := l.JS.Conn().SubscribeSync("$JS.API.STREAM.MSG.GET." + wire.ParkedStream(names))
	testkit.Must(t, err)
	failMore := func() {
		t.Helper()
		from := attempts.Load()
		l.eventually("more attempts", func() bool { return attempts.Load() >= from+5 })
		testkit.Must(t, l.JS.Conn().Flush())
	}
	a := l.work("a")
	l.request(update("cal", "other", 1))
	l.push(update("cal", "bad", 1))
	l.eventually("the key to be parked", func() bool { return parked(l) == 1 })
	failMore()
	if n, _, err := reads.Pending(); err != nil || n != 0 {
		t.Errorf("the worker that parked the key read it %d times (%v)", n, err)
	}
	a.shutdown(t)
	l.work("b")
	l.request(update("cal", "other", 2))
	failMore()
	if n, _, err := reads.Pending(); err != nil || n != 1 {
		t.Errorf("the next worker read the key %d times (%v)", n, err)
	}
	poisoned.Store(false)
	if ack := l.outcome("cal", "bad", 1); ack.Outcome != events.Delivered {
		t.Fatalf("not delivered: %+v", ack)
	}
	l.eventually("the parked stream to be empty", func() bool { return parked(l) == 0 })
}

// The owner before may have brought the newer version to the target and have died before
// it could say so: a target that checks nothing would go back to the parked one.
func TestParkedUpdateThatAFormerOwnerLeftYieldsToANewerVersion(t *testing.T) {
	t.Parallel()
	const keys = 8
	cfg := channel("cal", channels.Latest)
	cfg.Retry.MaxAttempts = 1000
	l := newLab(t, cfg)
	var well atomic.Bool
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key != "others" && !well.Load() {
			return connectors.Failed(connectors.Transient, "500", errors.New("not this one"))
		}
		return connectors.Done()
	})
	a := l.work("a", func(o *delivery.Options) { o.ParkAfter = time.Nanosecond })
	for k := range keys { // it is not the channel that fails
		l.push(update("cal", fmt.Sprint("k", k), 1))
		l.othersPass("cal", fmt.Sprint("k", k))
	}
	l.eventually("all of them to be parked", func() bool { return parked(l) == keys })
	a.shutdown(t)
	for k := range keys {
		l.push(update("cal", fmt.Sprint("k", k), 2))
	}
	well.Store(true)
	l.work("b")
	for k := range keys {
		key := fmt.Sprint("k", k)
		if ack := l.outcome("cal", key, 2); ack.Outcome != events.Delivered {
			t.Fatalf("not delivered: %+v", ack)
		}
		if got := l.tg.versions(key); !slices.Equal(got, []string{"2"}) {
			t.Errorf("the target took %v of %s", got, key)
		}
	}
	l.eventually("the parked stream to be empty", func() bool { return parked(l) == 0 })
}
