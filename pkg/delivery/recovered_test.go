package delivery_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// recovered puts an older copy of a channel's stream back, beside everything else as
// it is, and makes a new incarnation, as an administrator does after a restore.
func (l *lab) recovered(older string) {
	l.t.Helper()
	names := events.DefaultNames()
	l.bringBack(older)
	_, _, err := wire.RenewIncarnation(l.t.Context(), l.JS, names)
	testkit.Must(l.t, err)
	l.pub, err = publish.New(l.t.Context(), l.JS, names)
	testkit.Must(l.t, err)
}

// The channel's stream was copied before an update came that is parked now. After the
// restore its sequence is given again: the update that gets it was taken for a copy of
// the parked one and dropped.
func TestUpdateWithThePlaceOfAParkedOneIsDelivered(t *testing.T) {
	t.Parallel()
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			cfg := channel("cal", mode)
			cfg.Retry.MaxAttempts = 1000
			l := newLab(t, cfg)
			l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
				if a.Key == "bad" {
					return connectors.Failed(connectors.Transient, "500", errors.New("not this one"))
				}
				return connectors.Done()
			})
			soon := func(o *delivery.Options) { o.ParkAfter = 50 * time.Millisecond }
			a := l.work("a", soon)
			l.pushAll("cal", "k", 1, 3)
			l.delivered(3)
			a.shutdown(t)
			older := l.copyOf(wire.UpdateStream(events.DefaultNames(), events.ToChannel("cal")))
			b := l.work("b", soon)
			before := l.push(update("cal", "bad", 1))
			l.othersPass("cal", "bad") // it is not the channel that fails
			l.eventually("parked", func() bool { return parked(l) == 1 })
			b.shutdown(t)
			l.recovered(older)
			after := l.push(update("cal", "good", 1))
			if before.Sequence != after.Sequence {
				t.Fatalf("bad had sequence %d and good has %d: this shows nothing", before.Sequence, after.Sequence)
			}
			l.work("c", soon)
			l.eventually("the delivery of good", func() bool { return len(l.tg.versions("good")) > 0 })
		})
	}
}

// The stream was copied before the ledger. After the restore an update is accepted
// that is older than what the ledger knows, at a place that had an outcome: it was
// dropped, without an outcome and without an ack.
func TestUpdateThatIsAcceptedAfterARestoreHasAnOutcome(t *testing.T) {
	t.Parallel()
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, channel("cal", mode))
			names := events.DefaultNames()
			a := l.work("a")
			l.push(update("cal", "x", 1))
			l.outcome("cal", "x", 1)
			a.shutdown(t)
			older := l.copyOf(wire.UpdateStream(names, events.ToChannel("cal")))
			b := l.work("b")
			for _, k := range []string{"p", "q", "r"} {
				l.push(update("cal", k, 1))
			}
			l.push(update("cal", "x", 9))
			l.outcome("cal", "x", 9)
			b.shutdown(t)
			testkit.Eventually(t, "a second to begin, which an incarnation is of", func() bool { return time.Now().Nanosecond() < 5e8 })
			l.recovered(older)
			u := update("cal", "x", 5)
			var err error
			u.ReplyTo, err = names.ServiceAck("svc", "5")
			testkit.Must(t, err)
			_, err = l.pub.Publish(t.Context(), u)
			if mode == channels.Every && errors.Is(err, events.ErrStale) {
				return // the guard asks the ledger, which knows 9
			}
			testkit.Must(t, err)
			l.work("c")
			l.eventually("an ack", func() bool { return l.stored(wire.AckStream(names)) > 0 })
		})
	}
}

// The ids under which letters are stored are of places that are given again: the letter
// of an update was taken for one that is there, and was lost.
func TestLetterAfterARestoreIsStored(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	names := events.DefaultNames()
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if strings.HasPrefix(a.Key, "bad") {
			return connectors.Failed(connectors.Permanent, "422", errors.New("no"))
		}
		return connectors.Done()
	})
	a := l.work("a")
	l.pushAll("cal", "k", 1, 3)
	l.delivered(3)
	a.shutdown(t)
	older := l.copyOf(wire.UpdateStream(names, events.ToChannel("cal")))
	b := l.work("b")
	before := l.push(update("cal", "bad", 1))
	l.outcome("cal", "bad", 1)
	b.shutdown(t)
	l.recovered(older)
	after := l.push(update("cal", "bad2", 1))
	if before.Sequence != after.Sequence {
		t.Fatalf("sequences %d and %d: this shows nothing", before.Sequence, after.Sequence)
	}
	l.work("c")
	l.outcome("cal", "bad2", 1)
	letters, err := deadletters.Open(t.Context(), l.JS, names)
	testkit.Must(t, err)
	n, err := letters.Count(t.Context(), deadletters.Filter{Channel: "cal", Key: "bad2", AnyState: true})
	testkit.Must(t, err)
	if n != 1 {
		t.Errorf("%d letters of bad2, want 1", n)
	}
}

// After a reset versions start anew, the very version that was there last, too. The
// broker knew it by its id, and the publisher got a receipt for nothing.
func TestSameVersionAfterAReset(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, channel("cal", mode))
			l.work("a")
			l.push(update("cal", "x", 5))
			l.outcome("cal", "x", 5)
			testkit.Must(t, l.registry.ResetKey(t.Context(), "cal", "x"))
			if r := l.push(update("cal", "x", 5)); r.Duplicate {
				t.Errorf("version 5 after the reset is a duplicate: %+v", r)
			}
			l.eventually("the second delivery", func() bool { return len(l.tg.versions("x")) == 2 })
			if r := l.push(update("cal", "x", 5)); !r.Duplicate {
				t.Errorf("the same again is not a duplicate: %+v", r)
			}
		})
	}
}

// One call that hangs since the outage kept all others of the partition waiting when the
// target was back, for as long as it hung.
func TestHangingCallDelaysNobodyAfterAnOutage(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.Concurrency = 8
	l := newLab(t, cfg)
	var down atomic.Bool
	down.Store(true)
	hang, in := make(chan struct{}), make(chan struct{}, 1)
	defer close(hang)
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		switch {
		case a.Key == "slow":
			select {
			case in <- struct{}{}:
			default:
			}
			<-hang
		case down.Load():
			return connectors.Failed(connectors.Transient, "503", errors.New("down"))
		}
		return connectors.Done()
	})
	w := l.work("a", func(o *delivery.Options) { o.DrainTimeout = time.Hour })
	l.push(update("cal", "slow", 1))
	<-in
	for k := range 10 {
		l.push(update("cal", fmt.Sprint("k", k), 1))
	}
	circuit := func() (state string, since time.Time) {
		if s := w.Status(); len(s.Partitions) == 1 {
			return s.Partitions[0].Circuit, s.Partitions[0].CircuitSince
		}
		return "", time.Time{}
	}
	l.eventually("an outage that is long enough to read the stream again after it", func() bool {
		state, since := circuit()
		return state == "open" && time.Since(since) > time.Second
	})
	down.Store(false)
	l.eventually("the delivery of all others", func() bool { return len(l.tg.history()) >= 10 })
}
