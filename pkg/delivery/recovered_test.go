package delivery_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
)

// recovered puts an older copy of a channel's stream back, beside everything else as
// it is, and makes a new incarnation, as an administrator does after a restore.
func (l *lab) recovered(older string) {
	l.t.Helper()
	names := events.DefaultNames()
	l.bringBack(older)
	_, _, err := events.RenewIncarnation(l.t.Context(), l.JS, names)
	testkit.Must(l.t, err)
	l.pub, err = events.NewPublisher(l.t.Context(), l.JS, names)
	testkit.Must(l.t, err)
}

// The channel's stream was copied before an update came that is parked now. After the
// restore its sequence is given again: the update that gets it was taken for a copy of
// the parked one and dropped.
func TestUpdateWithThePlaceOfAParkedOneIsDelivered(t *testing.T) {
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
			older := l.copyOf(events.DefaultNames().UpdateStream("cal"))
			b := l.work("b", soon)
			before := l.push(update("cal", "bad", 1))
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
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, channel("cal", mode))
			names := events.DefaultNames()
			a := l.work("a")
			l.push(update("cal", "x", 1))
			l.outcome("cal", "x", 1)
			a.shutdown(t)
			older := l.copyOf(names.UpdateStream("cal"))
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
			l.eventually("an ack", func() bool { return l.stored(names.AckStream()) > 0 })
		})
	}
}
