package connkafka_test

import (
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
)

// mostOfTopic is what the topics of tests take, in bytes.
const mostOfTopic = 64 << 10

// On a broker that is a process of its own, through a network that can be cut and frozen.
func TestConforms(t *testing.T) {
	b := startBroker(t)
	for fence, committing := range map[string]int16{"transactions": apiEndTxn, "none": apiProduce} {
		t.Run(fence, func(t *testing.T) { conforms(t, b, fence, committing) })
	}
}

func conforms(t *testing.T, b *broker, fence string, committing int16) {
	topic := topicName(t)
	settings := compacted(map[string]string{"max.message.bytes": "65536"})
	b.topic(t, topic, 3, settings)
	box := newInbox(b, topic)
	large := func(u *events.Update) { u.Payload = []byte(strings.Repeat("x", mostOfTopic+1)) }
	connectortest.Run(t, connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened {
			return open(t, config(b.proxy.Addr(), topic, "fence: "+fence+"\n"), nil)
		},
		Read:      func(t *testing.T, keys ...string) map[string]connectors.Held { return box.read(t, keys...) },
		Times:     true,
		BadUpdate: large,
		Cut:       func(*testing.T) { b.proxy.Cut() },
		Restore:   func(*testing.T) { b.proxy.Heal() },
		LoseAnswer: func(*testing.T) func() {
			b.relay.on(func(api int16) fate {
				if api != committing {
					return fate{}
				}
				b.relay.on(func(int16) fate { // or the client asks what became of it
					b.proxy.Cut()
					return fate{}
				})
				return fate{lose: true}
			})
			return func() {
				b.relay.on(nil)
				b.proxy.Heal()
			}
		},
		Hang: func(*testing.T, string) func() {
			b.proxy.Freeze()
			return b.proxy.Heal
		},
		Faults: []connectortest.Fault{
			{Name: "too large for the topic", Want: connectors.Permanent, Code: "MESSAGE_TOO_LARGE", Broken: true, Arm: func(_ *testing.T, u *events.Update) func() {
				large(u)
				return func() {}
			}},
			{Name: "too large for the channel", Want: connectors.Permanent, Code: "too_long", Broken: true, Arm: func(_ *testing.T, u *events.Update) func() {
				u.Payload = []byte(strings.Repeat("x", 1000000))
				return func() {}
			}},
		},
		OwnGoroutines: []string{
			"github.com/hms-utl/extsync/internal/faults.(*Proxy).accept", "github.com/hms-utl/extsync/internal/faults.(*Proxy).serve",
			"github.com/hms-utl/extsync/internal/faults.(*Proxy).copy", "github.com/hms-utl/extsync/internal/faults.(*Proxy).serve.func1",
			"github.com/hms-utl/extsync/pkg/connectors/connkafka_test.(*relay).accept", "github.com/hms-utl/extsync/pkg/connectors/connkafka_test.(*relay).serve",
			"github.com/hms-utl/extsync/pkg/connectors/connkafka_test.(*relay).answers",
		},
	})
}
