package connmqtt_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connmqtt"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// unlimited has a broker keep all that a subscriber has not taken. Without any limit, by 0,
// Mosquitto 2.0.11 ends each connection on which it has refused a message.
const unlimited = "max_queued_messages 100000"

func secrets(s *testdb.Mosquitto) map[string]string {
	return map[string]string{"CHANNEL_PASSWORD": s.Password}
}

// config returns a configuration for the broker at an address.
func config(addr, user, more string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf("scheme: mqtt\nhost: %s\nport: %s\nuser: %s\npassword: ${env:CHANNEL_PASSWORD}\nallow_cidrs: [127.0.0.0/8]\ntopic: 'p/{key}'\n", host, port, user) + more
}

func open(t testing.TB, secrets map[string]string, config string) *connectors.Opened {
	t.Helper()
	c, err := connectors.Open(t.Context(), connmqtt.Kind(), connectortest.Env(secrets), []byte(config))
	testkit.Must(t, err)
	return c
}

// connect opens a connector that is closed with the test.
func connect(t testing.TB, secrets map[string]string, config string) *connectors.Opened {
	t.Helper()
	c := open(t, secrets, config)
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c
}

// subscribe connects as the administrator, and has take called for each message of a topic.
func subscribe(ctx context.Context, s *testdb.Mosquitto, topic string, take func(*paho.Publish)) (*paho.Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return nil, err
	}
	client := paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(conn), PacketTimeout: testkit.Patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(m paho.PublishReceived) (bool, error) {
			take(m.Packet)
			return true, nil
		}},
	})
	_, err = client.Connect(ctx, &paho.Connect{
		ClientID: "test" + rand.Text()[:16], CleanStart: true, Username: s.User, UsernameFlag: true, Password: []byte(s.Password), PasswordFlag: true,
	})
	if err != nil || topic == "" {
		return client, err
	}
	_, err = client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1, RetainAsPublished: true}}})
	return client, err
}

// A subscriber keeps the last message of each topic, and counts them. It is safe for
// concurrent use.
type subscriber struct {
	server *testdb.Mosquitto

	turn   sync.Mutex // of whoever waits for what is there
	client *paho.Client
	passed int

	mu     sync.Mutex
	last   map[string]*paho.Publish // by key
	counts map[string]int
	total  int
	marks  chan string
}

func newSubscriber(t testing.TB, s *testdb.Mosquitto) *subscriber {
	t.Helper()
	b := &subscriber{server: s, last: map[string]*paho.Publish{}, counts: map[string]int{}, marks: make(chan string, 16)}
	b.catchUp(t)
	t.Cleanup(b.close)
	return b
}

func (b *subscriber) close() {
	b.turn.Lock()
	defer b.turn.Unlock()
	if b.client != nil {
		_ = b.client.Disconnect(&paho.Disconnect{}) // it is used no more
		b.client = nil
	}
}

func (b *subscriber) take(m *paho.Publish) {
	if mark, ok := strings.CutPrefix(m.Topic, "mark/"); ok {
		b.marks <- mark
		return
	}
	key := keyOf(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last[key] = m
	b.counts[key]++
	b.total++
}

// keyOf returns the key that a message says, as documented for subscribers.
func keyOf(m *paho.Publish) string {
	var out []byte
	text := m.Properties.User.Get("subject")
	for i := 0; i < len(text); i++ {
		if b, err := strconv.ParseUint(text[min(i+1, len(text)):min(i+3, len(text))], 16, 8); text[i] == '%' && err == nil {
			out = append(out, byte(b))
			i += 2
			continue
		}
		out = append(out, text[i])
	}
	return string(out)
}

// catchUp waits until all is taken that the broker has acknowledged. While the broker is away
// there is nothing to take.
func (b *subscriber) catchUp(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), testkit.Patience)
	defer cancel()
	b.turn.Lock()
	defer b.turn.Unlock()
	if b.client != nil {
		select {
		case <-b.client.Done():
			b.client = nil
		default:
		}
	}
	if b.client == nil {
		client, err := subscribe(ctx, b.server, "#", b.take)
		if err != nil {
			return
		}
		b.client = client
	}
	b.passed++
	mark := strconv.Itoa(b.passed)
	if _, err := b.client.Publish(ctx, &paho.Publish{Topic: "mark/" + mark, QoS: 1}); err != nil {
		return
	}
	for {
		select {
		case got := <-b.marks:
			if got == mark {
				return
			}
		case <-b.client.Done():
			return
		case <-ctx.Done():
			t.Error("the subscriber does not get what it has sent")
			return
		}
	}
}

// message returns the last message of a key, nil if there is none, and how many there were.
func (b *subscriber) message(t testing.TB, key string) (*paho.Publish, int) {
	t.Helper()
	b.catchUp(t)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last[key], b.counts[key]
}

// read returns what a subscriber has of keys. Of a deleted one it has nothing.
func (b *subscriber) read(t testing.TB, keys ...string) map[string]connectors.Held {
	t.Helper()
	b.catchUp(t)
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]connectors.Held{}
	for _, key := range keys {
		m := b.last[key]
		if m == nil || m.Properties.User.Get("op") != string(events.Upsert) {
			continue
		}
		held := connectors.Held{Op: events.Upsert}
		held.Version = versionOf(t, m)
		if err := held.Digest.UnmarshalText([]byte(m.Properties.User.Get("entitydigest"))); err != nil {
			t.Error(err)
		}
		out[key] = held
	}
	return out
}

func versionOf(t testing.TB, m *paho.Publish) versioning.Version {
	t.Helper()
	return testkit.Version(t, m.Properties.User.Get("entityversion"))
}

// retained returns the message that the broker keeps for a key, nil if there is none, as
// whoever subscribes now gets it.
func retained(t testing.TB, s *testdb.Mosquitto, key string) *paho.Publish {
	t.Helper()
	var mu sync.Mutex
	var got *paho.Publish
	marked := make(chan struct{})
	client, err := subscribe(t.Context(), s, "#", func(m *paho.Publish) {
		mu.Lock()
		defer mu.Unlock()
		switch m.Topic {
		case "mark/retained":
			close(marked)
		case "p/" + connkit.KeyName(key, true):
			got = m
		}
	})
	testkit.Must(t, err)
	defer client.Disconnect(&paho.Disconnect{}) //nolint:errcheck // it is used no more
	_, err = client.Publish(t.Context(), &paho.Publish{Topic: "mark/retained", QoS: 1})
	testkit.Must(t, err)
	<-marked
	mu.Lock()
	defer mu.Unlock()
	return got
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
