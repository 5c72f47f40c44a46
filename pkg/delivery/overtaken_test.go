package delivery_test

import (
	"errors"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// A worker delivered version 1 and could not settle it. It comes again to the
// next one, and is overtaken there before anybody has looked at it: it once got a
// second outcome then.
func TestUpdateOvertakenInItsLaneKeepsTheOutcomeItHad(t *testing.T) {
	t.Parallel()
	cfg := channel("cal", channels.Latest)
	cfg.Concurrency = 2
	l := newLab(t, cfg)
	release := make(chan struct{})
	l.tg.answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "held" {
			<-release
			return connectors.Failed(connectors.Transient, "held", errors.New("held"))
		}
		return connectors.Done()
	})
	first := l.work("a")
	l.push(update("cal", "held", 1)) // keeps the floor below what follows
	l.eventually("the held call", func() bool { return len(l.tg.attempts()) == 1 })
	if ack := l.request(update("cal", "k", 1)); ack.Outcome != events.Delivered {
		t.Fatalf("not delivered: %+v", ack)
	}
	first.stop()
	close(release)
	first.shutdown(t)

	cfg.Concurrency = 1
	l.put(cfg)
	release = make(chan struct{})
	attempts := len(l.tg.attempts())
	l.work("b")
	l.eventually("the held call", func() bool { return len(l.tg.attempts()) > attempts })
	r := l.push(update("cal", "k", 2))
	l.eventually("version 2 to be pulled", func() bool {
		stream, err := l.JS.Stream(t.Context(), wire.UpdateStream(events.DefaultNames(), events.ToChannel("cal")))
		testkit.Must(t, err)
		for c := range stream.ListConsumers(t.Context()).Info() {
			if c.Delivered.Stream >= r.Sequence {
				return true
			}
		}
		return false
	})
	l.tg.answerWith(nil)
	close(release)
	if ack := l.outcome("cal", "k", 2); ack.Outcome != events.Delivered {
		t.Fatalf("not delivered: %+v", ack)
	}
	if ack := l.outcome("cal", "k", 1); ack.Outcome != events.Delivered {
		t.Fatalf("version 1 was delivered, and is now said to be %s", ack.Outcome)
	}
}
