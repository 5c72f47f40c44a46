package extsync_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/extsync"
)

// What goes to a topic and what goes to a channel is not taken for each other.
func TestPushToTopicRefusals(t *testing.T) {
	c := open(t)
	with := func(topic, channel string) extsync.Update {
		return extsync.Update{Topic: topic, Channel: channel, Key: "refused", Version: extsync.Number(1), Payload: []byte(`{}`)}
	}
	for name, tt := range map[string]struct {
		update extsync.Update
		is     error
	}{
		"no topic":          {with("", "erp_db"), extsync.ErrInvalidUpdate},
		"topic and channel": {with("policies", "erp_db"), extsync.ErrInvalidUpdate},
		"unknown topic":     {with("nothing", ""), extsync.ErrUnknownTopic},
		"name of a channel": {with("erp_db", ""), extsync.ErrUnknownTopic},
	} {
		if acks, err := c.PushToTopic(t.Context(), tt.update); !errors.Is(err, tt.is) || len(acks) > 0 {
			t.Errorf("%s: %v, %v, want %v", name, acks, err, tt.is)
		}
	}
	if _, err := c.PushAndWait(t.Context(), with("policies", "")); !errors.Is(err, extsync.ErrInvalidUpdate) || !strings.Contains(err.Error(), "PushToTopic") {
		t.Errorf("a topic's update, by PushAndWait: %v", err)
	}
	if _, err := c.Push(t.Context(), with("", "portal")); !errors.Is(err, extsync.ErrReadsTopic) {
		t.Errorf("to a channel that reads a topic: %v", err)
	}
}

// A topic's update that nobody delivers is stored, and the channels are told; a topic that no
// channel reads has nothing to wait for.
func TestPushToTopicEndsWithItsContext(t *testing.T) {
	b := natstest.Run(t, natstest.Options{TCP: true})
	c, err := extsync.Connect(t.Context(), b.URL(), extsync.WithStorage(channels.Storage{}), extsync.WithKinds(kinds.All()))
	testkit.Must(t, err)
	defer c.Close()
	registry, err := channels.OpenRegistry(t.Context(), b.JS, events.DefaultNames(), kinds.All())
	testkit.Must(t, err)
	for _, topic := range []string{"policies", "unread"} {
		_, err = registry.PutTopic(t.Context(), channels.Topic{Name: topic}, 0)
		testkit.Must(t, err)
	}
	reader := extsync.HTTP("web", "https://web.example/in")
	reader.From = &channels.From{Topic: "policies", Keys: "p-"}
	testkit.Must(t, c.Register(t.Context(), reader))
	push := func(ctx context.Context, topic, key string) ([]extsync.Ack, error) {
		return c.PushToTopic(ctx, extsync.Update{Topic: topic, Key: key, Version: extsync.Number(1), Payload: []byte(`{}`)})
	}
	for _, at := range [][2]string{{"unread", "p-1"}, {"policies", "q-1"}} {
		if acks, err := push(t.Context(), at[0], at[1]); err != nil || len(acks) != 0 {
			t.Errorf("nobody takes %s of %s: %v, %v", at[1], at[0], acks, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	acks, err := push(ctx, "policies", "p-1")
	if !errors.Is(err, extsync.ErrNoAck) || len(acks) != 1 || acks[0].Channel != "web" || acks[0].Outcome != "" {
		t.Errorf("acks %+v, error %v", acks, err)
	}
}
