package wire_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// TestCountFrom: messages are counted from a sequence on, by subject, without being
// read; one whose publisher has sent headers with the broker's names is one message.
func TestCountFrom(t *testing.T) {
	p := newPlatform(t)
	channel := "latest"
	stream, all := wire.UpdateStream(p.names, events.ToChannel(channel)), wire.StoredUpdates(p.names, events.ToChannel(channel))
	count := func(filter string, from uint64) wire.Count {
		t.Helper()
		c, err := wire.CountFrom(t.Context(), p.JS, stream, filter, from)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := count(all, 0); c != (wire.Count{}) {
		t.Errorf("an empty stream has %+v", c)
	}
	began := time.Now()
	for _, key := range []string{"a", "b", "c"} {
		msg := &nats.Msg{Subject: p.names.Update(events.ToChannel(channel), key), Header: nats.Header{
			"Nats-Num-Pending": {"80000"}, "Nats-Sequence": {"7"}, "Nats-Time-Stamp": {"yesterday"}, "Status": {"404"},
		}}
		_, err := p.JS.PublishMsg(t.Context(), msg)
		if err != nil {
			t.Fatal(err)
		}
	}
	c := count(all, 0)
	if c.Messages != 3 || c.First.Before(began.Add(-time.Second)) || c.First.After(time.Now()) {
		t.Errorf("all: %+v", c)
	}
	for from, want := range map[uint64]uint64{1: 3, 2: 2, 3: 1, 4: 0, 100: 0} {
		if c := count(all, from); c.Messages != want {
			t.Errorf("from %d: %d, want %d", from, c.Messages, want)
		}
	}
	if c := count(wire.StoredUpdate(p.names, events.ToChannel(channel), "b"), 1); c.Messages != 1 {
		t.Errorf("of one subject: %+v", c)
	}
	if _, err := wire.CountFrom(t.Context(), p.JS, wire.UpdateStream(p.names, events.ToChannel("other")), all, 1); !wire.IsUnavailable(err) {
		t.Errorf("of no stream: %v", err)
	}
}
