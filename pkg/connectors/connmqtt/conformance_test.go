package connmqtt_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
)

// At a real broker, through a network that can be cut and frozen.
func TestConforms(t *testing.T) {
	for name, more := range map[string]string{"tombstone": "", "remove": "on_delete: remove\n"} {
		t.Run(name, func(t *testing.T) {
			s := testdb.StartMosquitto(t, unlimited)
			connectortest.Run(t, target(t, s, more))
		})
	}
}

func target(t *testing.T, s *testdb.Mosquitto, more string) connectortest.Target {
	proxy := faults.NewProxy(t, s.Addr())
	sub := newSubscriber(t, s)
	broken := func(name, code string, change func(u *events.Update)) connectortest.Fault {
		return connectortest.Fault{Name: name, Want: connectors.Permanent, Code: code, Broken: true, Arm: func(_ *testing.T, u *events.Update) func() {
			change(u)
			return func() {}
		}}
	}
	return connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened {
			return open(t, secrets(s), config(proxy.Addr(), s.User, more))
		},
		Read:      func(t *testing.T, keys ...string) map[string]connectors.Held { return sub.read(t, keys...) },
		Times:     true,
		BadUpdate: func(u *events.Update) { u.Payload = []byte(strings.Repeat("x", testdb.MostOfMosquitto+1)) },
		Writes: func(t *testing.T, key string) int {
			_, n := sub.message(t, key)
			return n
		},
		Cut:     func(*testing.T) { proxy.Cut() },
		Restore: func(*testing.T) { proxy.Heal() },
		LoseAnswer: func(t *testing.T) func() {
			sub.catchUp(t)
			sub.mu.Lock()
			before := sub.total
			sub.mu.Unlock()
			proxy.FreezeAnswers()
			var lost sync.WaitGroup
			lost.Go(func() {
				testkit.Eventually(t, "the message is at the broker", func() bool {
					sub.mu.Lock()
					defer sub.mu.Unlock()
					return sub.total > before
				})
				proxy.Cut()
			})
			return func() { lost.Wait(); proxy.Heal() }
		},
		Hang: func(*testing.T, string) func() {
			proxy.Freeze()
			return proxy.Heal
		},
		Faults: []connectortest.Fault{
			broken("content too large for the broker", "0x95", func(u *events.Update) { u.Payload = []byte(strings.Repeat("x", testdb.MostOfMosquitto+1)) }),
			broken("packet too large for the broker", "too_large", func(u *events.Update) { u.Payload = []byte(strings.Repeat("x", testdb.MostPacketOfMosquitto)) }),
			broken("nothing to retain", "empty", func(u *events.Update) { u.Payload = nil }),
			broken("content type that MQTT does not carry", "text", func(u *events.Update) { u.ContentType = "text/plain\x01" }),
		},
		Secrets: []string{s.Password},
		OwnGoroutines: []string{
			"github.com/hms-utl/extsync/internal/faults.(*Proxy).accept", "github.com/hms-utl/extsync/internal/faults.(*Proxy).serve",
			"github.com/hms-utl/extsync/internal/faults.(*Proxy).copy", "github.com/hms-utl/extsync/internal/faults.(*Proxy).serve.func1",
		},
	}
}
