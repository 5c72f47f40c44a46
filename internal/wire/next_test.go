package wire_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
)

// A deafIterator waits for what never comes when it is called first, as the client's
// does that has not asked the broker for more.
type deafIterator struct {
	jetstream.MessagesContext
	silent jetstream.MessagesContext
	called bool
}

func (it *deafIterator) Next(opts ...jetstream.NextOpt) (jetstream.Msg, error) {
	if !it.called {
		it.called = true
		return it.silent.Next(opts...)
	}
	return it.MessagesContext.Next(opts...)
}

// A reader of acks who is as fast as they come could stand still for half a minute.
func TestPullThatTheClientForgetsIsMadeUpFor(t *testing.T) {
	b := natstest.Run(t)
	iterator := func(stream string) jetstream.MessagesContext {
		s, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{stream}})
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		it, err := c.Messages()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(it.Stop)
		return it
	}
	acks, silent := iterator("ACKS"), iterator("EMPTY")
	if _, err := b.JS.Publish(t.Context(), "ACKS", nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	if msg, err := wire.NextMessage(ctx, &deafIterator{MessagesContext: acks, silent: silent}); err != nil || msg == nil {
		t.Errorf("message %v, error %v", msg, err)
	}
	cancel()
	if _, err := wire.NextMessage(ctx, &deafIterator{MessagesContext: acks, silent: silent}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}
