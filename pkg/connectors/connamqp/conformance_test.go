package connamqp_test

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

// On a quorum queue of a real broker, through a network that can be cut and frozen.
func TestConforms(t *testing.T) {
	s := testdb.RabbitMQ(t)
	conn, ch, err := admin(s)
	testkit.Must(t, err)
	defer conn.Close() //nolint:errcheck // it is used no more
	proxy := faults.NewProxy(t, s.Addr())
	queue := queueName(t)
	box := newInbox(t, s, queue)
	connectortest.Run(t, connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened {
			return open(t, s, config(proxy.Addr(), s.User, "declare: quorum\nrouting_key: "+queue+"\n"))
		},
		Read:      func(t *testing.T, keys ...string) map[string]connectors.Held { return box.read(t, keys...) },
		Times:     true,
		BadUpdate: func(u *events.Update) { u.Payload = []byte(strings.Repeat("x", testdb.MostOfRabbitMQ+1)) },
		Cut:       func(*testing.T) { proxy.Cut() },
		Restore:   func(*testing.T) { proxy.Heal() },
		LoseAnswer: func(t *testing.T) func() {
			box.read(t)
			proxy.FreezeAnswers()
			var lost sync.WaitGroup
			lost.Go(func() {
				testkit.Eventually(t, "the message is in the queue", func() bool {
					q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
					return err == nil && q.Messages > 0
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
			{Name: "no queue", Want: connectors.Misconfigured, Code: "312", Arm: func(t *testing.T, _ *events.Update) func() {
				box.read(t)
				_, err := ch.QueueDelete(queue, false, false, false)
				testkit.Must(t, err)
				return func() {
					_, err := ch.QueueDeclare(queue, true, false, false, false, map[string]any{"x-queue-type": "quorum"})
					testkit.Must(t, err)
				}
			}},
			{Name: "too large", Want: connectors.Permanent, Code: "406", Broken: true, Arm: func(_ *testing.T, u *events.Update) func() {
				u.Payload = []byte(strings.Repeat("x", testdb.MostOfRabbitMQ+1))
				return func() {}
			}},
			{Name: "long content type", Want: connectors.Permanent, Code: "too_long", Broken: true, Arm: func(_ *testing.T, u *events.Update) func() {
				u.ContentType = strings.Repeat("x", 256)
				return func() {}
			}},
		},
		Secrets: []string{s.Password},
		OwnGoroutines: []string{
			"github.com/hms-utl/extsync/internal/faults.(*Proxy).accept", "github.com/hms-utl/extsync/internal/faults.(*Proxy).serve",
			"github.com/hms-utl/extsync/internal/faults.(*Proxy).copy", "github.com/hms-utl/extsync/internal/faults.(*Proxy).serve.func1",
		},
	})
}
