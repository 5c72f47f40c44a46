package connamqp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connamqp"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// secrets are what the worker of a test may know.
func secrets(s *testdb.RabbitMQServer) map[string]string {
	return map[string]string{"CHANNEL_PASSWORD": s.Password}
}

// config returns a configuration for the broker at an address, and its target.
func config(addr, user, more string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf("scheme: amqp\nhost: %s\nport: %s\nuser: %s\npassword: ${env:CHANNEL_PASSWORD}\nallow_cidrs: [127.0.0.0/8]\n", host, port, user) + more
}

func open(t testing.TB, s *testdb.RabbitMQServer, config string) *connectors.Opened {
	t.Helper()
	c, err := connectors.Open(t.Context(), connamqp.Kind(), connectortest.Env(secrets(s)), []byte(config))
	testkit.Must(t, err)
	return c
}

// connect opens a connector that is closed with the test.
func connect(t testing.TB, s *testdb.RabbitMQServer, config string) *connectors.Opened {
	t.Helper()
	c := open(t, s, config)
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c
}

// An inbox is a consumer of a queue: it takes what is there, and keeps the newest of each key,
// as consumers are to do. It is safe for concurrent use.
type inbox struct {
	server *testdb.RabbitMQServer
	queue  string

	mu     sync.Mutex
	conn   *amqp.Connection
	ch     *amqp.Channel
	newest map[string]amqp.Delivery
	counts map[string]int // of messages, by key and by key@version
}

func newInbox(t testing.TB, s *testdb.RabbitMQServer, queue string) *inbox {
	t.Helper()
	b := &inbox{server: s, queue: queue, newest: map[string]amqp.Delivery{}, counts: map[string]int{}}
	b.read(t) // connects
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.conn != nil {
			_ = b.conn.Close() // it is used no more
		}
	})
	return b
}

// admin makes a connection of the administrator's.
func admin(s *testdb.RabbitMQServer) (*amqp.Connection, *amqp.Channel, error) {
	conn, err := amqp.Dial(fmt.Sprintf("amqp://%s:%s@%s/", s.User, s.Password, s.Addr()))
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, ch, nil
}

// empty takes all that is in the queue. While the broker is away there is nothing to take.
func (b *inbox) empty(t testing.TB) {
	t.Helper()
	if b.conn == nil || b.conn.IsClosed() {
		var err error
		if b.conn, b.ch, err = admin(b.server); err != nil {
			b.conn = nil
			return
		}
	}
	if b.ch.IsClosed() { // as the queue was not there
		ch, err := b.conn.Channel()
		if err != nil {
			return
		}
		b.ch = ch
	}
	for {
		m, ok, err := b.ch.Get(b.queue, true)
		if err != nil || !ok {
			return // it is empty, not there yet, or there no more
		}
		key, _ := m.Headers["cloudEvents_subject"].(string)
		b.counts[key]++
		b.counts[key+"@"+versionOf(t, m).String()]++
		before, there := b.newest[key]
		if !there {
			b.newest[key] = m
			continue
		}
		if order, err := versionOf(t, m).Compare(versionOf(t, before)); err != nil || order >= 0 {
			b.newest[key] = m
		}
	}
}

// read returns what a consumer has of keys. Of a deleted one it has nothing.
func (b *inbox) read(t testing.TB, keys ...string) map[string]connectors.Held {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.empty(t)
	out := map[string]connectors.Held{}
	for _, key := range keys {
		if m, ok := b.newest[key]; ok && m.Headers["cloudEvents_op"] == string(events.Upsert) {
			held := connectors.Held{Op: events.Upsert}
			held.Version = versionOf(t, m)
			out[key] = held
		}
	}
	return out
}

// message returns the newest message of a key, and how many there were of a key, or of a
// key@version.
func (b *inbox) message(t testing.TB, key string) (amqp.Delivery, int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.empty(t)
	return b.newest[key], b.counts[key]
}

func attempt(key string, version int64, payload string) connectors.Attempt {
	u := events.Update{Channel: connectortest.Channel, Key: key, Version: testkit.Number(version), Op: events.Upsert, Payload: []byte(payload)}
	if payload == "" {
		u.Op = events.Delete
	}
	u = u.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

func apply(t testing.TB, c *connectors.Opened, attempts ...connectors.Attempt) []connectors.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), connectortest.Timeout)
	defer cancel()
	return c.Apply(ctx, attempts)
}

func want(t testing.TB, res connectors.Result, class connectors.Class, code string) {
	t.Helper()
	if res.Class != class || res.Code != code {
		t.Errorf("class %s, code %q (%v, %s); want %s, %q", res.Class, res.Code, res.Err, res.Response, class, code)
	}
}

// queueName returns a name that no other test has.
func queueName(t testing.TB) string {
	return strings.NewReplacer("/", ".", " ", "-").Replace(t.Name())
}

func versionOf(t testing.TB, m amqp.Delivery) versioning.Version {
	t.Helper()
	text, _ := m.Headers["cloudEvents_entityversion"].(string)
	return testkit.Version(t, text)
}
