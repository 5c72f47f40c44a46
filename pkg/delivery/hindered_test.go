package delivery_test

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/workers"
)

// A worker that was told to end and has a call in flight still has its shards: others
// said that nobody has them. It gets no share of what is free.
func TestDrainingWorkerIsSeen(t *testing.T) {
	t.Parallel()
	l := newLab(t, channel("cal", channels.Latest))
	hang, in := make(chan struct{}), make(chan struct{}, 1)
	l.tg.answerWith(func(connectors.Attempt) connectors.Result {
		in <- struct{}{}
		<-hang
		return connectors.Done()
	})
	a := l.work("a")
	l.push(update("cal", "k", 1))
	<-in
	crew := func() workers.Crew {
		crew, err := workers.Read(t.Context(), l.JS, events.DefaultNames())
		testkit.Must(t, err)
		return crew
	}
	a.stop()
	var said workers.Beat
	l.eventually("the worker to say that it drains", func() bool {
		owner := crew().Owner(workers.Shard("cal", 0))
		if owner != nil && owner.Draining {
			said = *owner
		}
		return owner != nil && owner.Draining
	})
	l.eventually("it to say so again after more than its time", func() bool {
		owner := crew().Owner(workers.Shard("cal", 0))
		if owner == nil {
			t.Fatal("it has the shard and a call in flight, and nobody is said to have it")
		}
		return owner.At.Sub(said.At) > time.Duration(said.TTL)*time.Millisecond
	})
	close(hang)
}
