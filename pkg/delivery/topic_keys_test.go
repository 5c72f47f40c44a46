package delivery_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
)

// An update of a key that failed was moved to the parked stream. The channel came to take
// other keys, and its next owner tried the update all the same.
func TestParkedUpdateOfAKeyThatIsNotTakenAnyMore(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	l.targets["a"].answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "p-1" {
			return connectors.Failed(connectors.Transient, "503", errors.New("busy"))
		}
		return connectors.Done()
	})
	l.reads("a", func(c *channels.Config) { c.From.Keys = "p-" })
	l.work("w", func(o *delivery.Options) { o.ParkAfter = time.Nanosecond })
	l.push(toTopic("p-1", 1))
	l.push(toTopic("p-2", 1))
	l.outcome("a", "p-2", 1)
	parked := wire.ParkedStream(events.DefaultNames())
	l.eventually("the update to be parked", func() bool { return l.stored(parked) == 1 })
	l.reads("a", func(c *channels.Config) { c.From.Keys = "q-" })
	l.push(toTopic("q-1", 1))
	l.outcome("a", "q-1", 1) // by an owner that knows of the other keys
	l.targets["a"].answerWith(func(a connectors.Attempt) connectors.Result {
		if a.Key == "p-1" {
			t.Error("a key that the channel does not take is tried")
		}
		return connectors.Done()
	})
	l.eventually("the parked stream to be empty", func() bool { return l.stored(parked) == 0 })
}

// A new channel found version 7 of a key without a way to read it. Its record said that 7 was
// settled with the content of nothing, and 7 itself, which came then, was a conflict: not so
// in the channels that had been there.
func TestVersionThatANewChannelCouldNotRead(t *testing.T) {
	t.Parallel()
	l := newTopicLab(t)
	names := events.DefaultNames()
	good := toTopic("k", 7)
	msg, err := wire.Encode(names, good)
	testkit.Must(t, err)
	msg.Header.Del(nats.MsgIdHdr) // nothing between the program of another and the stream
	for name := range msg.Header {
		if strings.HasPrefix(name, "Nats-Expected") {
			msg.Header.Del(name)
		}
	}
	bad := nats.NewMsg(msg.Subject)
	bad.Header, bad.Data = maps.Clone(msg.Header), msg.Data
	bad.Header.Set(events.HeaderOp, "rename")
	testkit.Must(t, l.JS.Conn().PublishMsg(bad))
	l.eventually("the stream to have it", func() bool { return l.stored(wire.UpdateStream(names, events.ToTopic("policies"))) == 1 })
	l.reads("a")
	l.work("w")
	l.eventually("the channel to be filled", func() bool {
		s, err := l.registry.ResyncStatus(t.Context(), "a")
		return err == nil && s.State == channels.ResyncDone && s.Looked() == 1
	})
	testkit.Must(t, l.JS.Conn().PublishMsg(msg))
	if ack := l.outcome("a", "k", 7); ack.Outcome != events.Delivered {
		t.Errorf("version 7, as it is: %+v", ack)
	}
}
