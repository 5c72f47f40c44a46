package connamqp_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connamqp"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// declare makes queues and exchanges for a test as the administrator.
func declare(t *testing.T, s *testdb.RabbitMQServer, f func(ch *amqp.Channel) error) {
	t.Helper()
	conn, ch, err := admin(s)
	testkit.Must(t, err)
	defer conn.Close() //nolint:errcheck // it is used no more
	testkit.Must(t, f(ch))
}

// What each refusal of the broker becomes, of an update and of a probe.
func TestRefusals(t *testing.T) {
	s := testdb.RabbitMQ(t)
	declare(t, s, func(ch *amqp.Channel) error {
		if _, err := ch.QueueDeclare("classic", true, false, false, false, nil); err != nil {
			return err
		}
		if _, err := ch.QueueDeclare("full", true, false, false, false, amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"}); err != nil {
			return err
		}
		for range 3 { // the queue takes one more than it keeps
			if err := ch.Publish("", "full", false, false, amqp.Publishing{Body: []byte("x")}); err != nil {
				return err
			}
		}
		return ch.ExchangeDeclare("unbound", amqp.ExchangeTopic, true, false, false, false, nil)
	})
	const ok, act, waits = connectors.OK, connectors.Misconfigured, connectors.Throttled
	classic := "routing_key: classic\n"
	for _, c := range []struct {
		name, config string
		class        connectors.Class
		code         string
		probe        connectors.Class
	}{
		{"queue", config(s.Addr(), s.User, classic), ok, "", ok},
		{"no such user", config(s.Addr(), "nobody", classic), act, "login", act},
		{"no such virtual host", config(s.Addr(), s.User, classic+"vhost: away\n"), act, "530", act},
		{"closed virtual host", config(s.Addr(), s.User, classic+"vhost: closed\n"), act, "530", act},
		{"no such exchange", config(s.Addr(), s.User, "exchange: away\n"), act, "404", act},
		{"no such queue", config(s.Addr(), s.User, "routing_key: away\n"), act, "312", act},
		{"no binding", config(s.Addr(), s.User, "exchange: unbound\nrouting_key: x\n"), act, "312", ok},
		{"no right to write", config(s.Addr(), testdb.RabbitLimited, "exchange: unbound\n"), act, "403", ok},
		{"no right to declare", config(s.Addr(), testdb.RabbitLimited, "declare: quorum\nrouting_key: new\n"), act, "403", act},
		{"another queue of that name", config(s.Addr(), s.User, "declare: quorum\n"+classic), act, "declare", act},
		{"full queue", config(s.Addr(), s.User, "routing_key: full\n"), waits, "nack", ok},
		{"TLS where none is", strings.Replace(config(s.Addr(), s.User, classic), "scheme: amqp", "scheme: amqps", 1), connectors.Transient, "tls", connectors.Transient},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := connect(t, s, c.config)
			for n := range 2 { // the second one meets what the first one has left
				want(t, apply(t, conn, attempt("k", int64(n)+1, "{}"))[0], c.class, c.code)
				if err := conn.Probe(t.Context()); (err == nil) != (c.probe == ok) || err != nil && connectors.ClassOf(err) != c.probe {
					t.Errorf("the probe says %v, want %s", err, c.probe)
				}
			}
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		env := connectortest.Env(map[string]string{"CHANNEL_PASSWORD": "hunter2-and-more"})
		conn, err := connectors.Open(t.Context(), connamqp.Kind(), env, []byte(config(s.Addr(), s.User, classic)))
		testkit.Must(t, err)
		defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost by it
		res := apply(t, conn, attempt("k", 1, "{}"))[0]
		want(t, res, act, "login")
		if strings.Contains(fmt.Sprint(res), "hunter2") || !strings.Contains(res.Response, "ACCESS_REFUSED") {
			t.Errorf("%v, %q", res.Err, res.Response)
		}
	})
}

// A user may write some routing keys of a topic exchange only. Those fail alone.
func TestOneRoutingKeyIsRefusedInABatch(t *testing.T) {
	s := testdb.RabbitMQ(t)
	queue := queueName(t)
	declare(t, s, func(ch *amqp.Channel) error {
		if err := ch.ExchangeDeclare("limited.topic", amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
			return err
		}
		if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
			return err
		}
		return ch.QueueBind(queue, "*", "limited.topic", false, nil) // of one word
	})
	box := newInbox(t, s, queue)
	c := connect(t, s, config(s.Addr(), testdb.RabbitLimited, "exchange: limited.topic\nappend_key: true\n"))
	keys := []string{"good-1", "good.2", "bad-3", "good-4"}
	var batch []connectors.Attempt
	for _, key := range keys {
		batch = append(batch, attempt(key, 1, "{}"))
	}
	for i, res := range apply(t, c, batch...) {
		m, _ := box.message(t, keys[i])
		if keys[i] == "bad-3" {
			want(t, res, connectors.Misconfigured, "403")
		} else if want(t, res, connectors.OK, ""); m.RoutingKey != strings.ReplaceAll(keys[i], ".", "=2e") {
			t.Errorf("%s has the routing key %q", keys[i], m.RoutingKey)
		}
	}
}

// In a batch only those are at fault that nobody takes.
func TestUnroutableInABatch(t *testing.T) {
	s := testdb.RabbitMQ(t)
	queue := queueName(t)
	declare(t, s, func(ch *amqp.Channel) error {
		if err := ch.ExchangeDeclare(queue, amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
			return err
		}
		if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
			return err
		}
		return ch.QueueBind(queue, "to.bound", queue, false, nil)
	})
	c := connect(t, s, config(s.Addr(), s.User, "exchange: "+queue+"\nrouting_key: to.\nappend_key: true\n"))
	results := apply(t, c, attempt("lost-1", 1, "{}"), attempt("bound", 1, "{}"), attempt("lost-2", 1, "{}"))
	want(t, results[0], connectors.Misconfigured, "312")
	want(t, results[1], connectors.OK, "")
	want(t, results[2], connectors.Misconfigured, "312")
	if results[0].Response != "NO_ROUTE" {
		t.Errorf("the broker said %q", results[0].Response)
	}
}

// A broker that is short of memory reads no more messages.
func TestBlockedBroker(t *testing.T) {
	s := testdb.RabbitMQ(t)
	c := connect(t, s, config(s.Addr(), s.User, "declare: quorum\nrouting_key: "+queueName(t)+"\n"))
	want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.OK, "")
	s.Control(t, "set_vm_memory_high_watermark", "0")
	unblock := func() { s.Control(t, "set_vm_memory_high_watermark", "0.6") }
	defer func() { unblock() }()
	// The first message may be taken, and shows the broker that we write. None waits longer
	// than its call.
	blocked := false
	for n := int64(2); n < 10 && !blocked; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), connectortest.Timeout/10)
		res := c.Apply(ctx, []connectors.Attempt{attempt("k", n, "{}")})[0]
		cancel()
		blocked = res.Class == connectors.Throttled && res.Code == "blocked"
		if !blocked && res.Class != connectors.OK {
			t.Errorf("%s, %v", res.Class, res.Err)
		}
	}
	if !blocked {
		t.Fatal("the broker took all")
	}
	if err := c.Probe(t.Context()); connectors.ClassOf(err) != connectors.Throttled {
		t.Errorf("the probe says %v", err)
	}
	unblock()
	unblock = func() {}
	testkit.Eventually(t, "messages are taken again", func() bool {
		return apply(t, c, attempt("k", 11, "{}"))[0].Class == connectors.OK
	})
}

func TestTLS(t *testing.T) {
	s := testdb.RabbitMQ(t)
	ca, err := os.ReadFile(s.CAFile())
	testkit.Must(t, err)
	more := "declare: quorum\nrouting_key: " + queueName(t) + "\n"
	secure := strings.Replace(config(s.SecureAddr, s.User, more), "scheme: amqp", "scheme: amqps", 1)
	env := map[string]string{"CHANNEL_PASSWORD": s.Password, "CHANNEL_CA": string(ca)}
	for _, c := range []struct {
		name, config string
		class        connectors.Class
		code         string
	}{
		{"its authority", secure + "tls: {ca: '${env:CHANNEL_CA}'}\n", connectors.OK, ""},
		{"another authority", secure, connectors.Misconfigured, connkit.CodeTLSVerify},
		{"another name", secure + "tls: {ca: '${env:CHANNEL_CA}', server_name: other.example}\n", connectors.Misconfigured, connkit.CodeTLSVerify},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := connectors.Open(t.Context(), connamqp.Kind(), connectortest.Env(env), []byte(c.config))
			testkit.Must(t, err)
			defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost by it
			want(t, apply(t, conn, attempt("k", 1, "{}"))[0], c.class, c.code)
		})
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	testkit.Must(t, l.Close())
	env := connectortest.Env(map[string]string{"CHANNEL_PASSWORD": "x"})
	conn, err := connectors.Open(t.Context(), connamqp.Kind(), env, []byte(config(l.Addr().String(), "u", "routing_key: q\n")))
	testkit.Must(t, err)
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost by it
	res := apply(t, conn, attempt("k", 1, "{}"))[0]
	if want(t, res, connectors.Transient, connectors.CodeRefused); !res.NobodyThere() {
		t.Error("somebody is there")
	}
}

// The operator decides which networks there are.
func TestNetworkIsNotAllowed(t *testing.T) {
	_, err := connamqp.Kind().Open(t.Context(), connectors.Host{
		Allow:     connectors.Allow{Grant: connectors.Grant{Env: connectors.List{"CHANNEL_PASSWORD"}}},
		LookupEnv: func(string) (string, bool) { return "x", true },
	}.Env("people"), []byte(config("127.0.0.1:5672", "u", "routing_key: q\n")))
	if connectors.ClassOf(err) != connectors.Misconfigured {
		t.Errorf("%v", err)
	}
}

// What a stranger in the broker's place can send.
func TestHostileBroker(t *testing.T) {
	frame := func(kind byte, payload string) string {
		return string([]byte{kind, 0, 0, 0, byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload))}) + payload + "\xce"
	}
	for name, c := range map[string]struct {
		sends []string
		code  string
	}{
		"another protocol": {[]string{"HTTP/1.1 400 Bad Request\r\n\r\n"}, ""},
		"another version":  {[]string{"AMQP\x00\x01\x00\x00"}, ""},
		"huge frame":       {[]string{"\x01\x00\x00\xff\xff\xff\xff"}, ""},
		"huge table":       {[]string{frame(1, "\x00\x0a\x00\x0a\x00\x09\xff\xff\xff\xff")}, ""},
		"no end":           {slices.Repeat([]string{strings.Repeat(frame(1, "\x00\x0a\x00\x3c\xff"+strings.Repeat("x", 255)), 1<<9)}, 2<<10), "too_much"},
		"close":            {[]string{frame(1, "\x00\x0a\x00\x32\x01\x40\x04stop\x00\x00\x00\x00")}, "320"},
		"nothing":          {nil, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			testkit.Must(t, err)
			done := make(chan struct{})
			go func() {
				defer close(done)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close() //nolint:errcheck // whatever became of it
				_, _ = bufio.NewReader(conn).Peek(8)
				for _, text := range c.sends {
					if _, err := conn.Write([]byte(text)); err != nil {
						return
					}
				}
			}()
			env := connectortest.Env(map[string]string{"CHANNEL_PASSWORD": "hunter2-and-more"})
			conn, err := connectors.Open(t.Context(), connamqp.Kind(), env, []byte(config(l.Addr().String(), "u", "routing_key: q\n")))
			testkit.Must(t, err)
			res := apply(t, conn, attempt("k", 1, "{}"))[0]
			if res.Class != connectors.Transient || c.code != "" && res.Code != c.code || res.Code == "timeout" {
				t.Errorf("%s, %q: %v", res.Class, res.Code, res.Err)
			}
			testkit.Must(t, conn.Close(t.Context()))
			testkit.Must(t, l.Close())
			<-done
		})
	}
}
