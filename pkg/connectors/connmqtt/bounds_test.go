package connmqtt_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connmqtt"
)

// A broker that never answers is waited for as long as the channel's timeout says, also by
// callers that set no end.
func TestCallsHaveAnEnd(t *testing.T) {
	env := connectortest.Env(map[string]string{"CHANNEL_PASSWORD": "x"})
	env.Timeout = 200 * time.Millisecond
	open := func(hello string) *connectors.Opened {
		addr := fakeBroker(t, func(kind byte, _ []byte) (string, bool) {
			if kind == connectPacket {
				return hello, false
			}
			return "", false
		})
		c, err := connectors.Open(t.Context(), connmqtt.Kind(), env, []byte(config(addr, "u", "read_wait: 10s\n")))
		testkit.Must(t, err)
		return c
	}
	for name, call := range map[string]func(*connectors.Opened) error{
		"apply": func(c *connectors.Opened) error {
			return c.Apply(context.Background(), []connectors.Attempt{attempt("k", 1, "{}")})[0].Err
		},
		"read": func(c *connectors.Opened) error {
			_, err := c.Read(context.Background(), []string{"k"})
			return err
		},
		"compare": func(c *connectors.Opened) error {
			_, err := c.Compare(context.Background(), []connectors.Attempt{attempt("k", 1, "{}")})
			return err
		},
		"probe": func(c *connectors.Opened) error { return c.Probe(context.Background()) },
	} {
		for at, hello := range map[string]string{"connecting": "", "connected": connack} {
			if name == "probe" && hello != "" {
				continue // it asks for no more
			}
			t.Run(name+" "+at, func(t *testing.T) {
				c := open(hello)
				over := make(chan error, 1)
				go func() { over <- call(c) }()
				select {
				case err := <-over:
					if err == nil || !strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
						t.Errorf("the call ended with %v", err)
					}
				case <-time.After(testkit.Patience):
					t.Fatal("the call goes on")
				}
				testkit.Must(t, c.Close(context.WithoutCancel(t.Context())))
			})
		}
	}
}

// A call that is cancelled while it writes leaves the connection to the others. Only where the
// write blocks it ends the connection, as it must return.
func TestCancelledWrite(t *testing.T) {
	for name, blocks := range map[string]bool{"goes on": false, "blocks": true} {
		t.Run(name, func(t *testing.T) {
			large := attempt("large", 1, `"`+strings.Repeat("x", 8<<20)+`"`) // more than the system takes for a socket
			first, second, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			testkit.Must(t, err)
			defer l.Close() //nolint:errcheck // it only listens
			served := make(chan struct{})
			go func() {
				defer close(served)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close() //nolint:errcheck // whatever became of it
				_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
				in := bufio.NewReader(conn)
				var small []byte
				for {
					if head, err := in.Peek(1); err == nil && small != nil && head[0]>>4 == publishPacket {
						break // the large one begins
					}
					kind, packet, err := readPacket(in)
					switch {
					case err != nil:
						return
					case kind == connectPacket:
						_, _ = conn.Write([]byte(connack))
					case kind == publishPacket:
						small = packet
						close(first)
					}
				}
				close(second)
				if <-release; blocks {
					return
				}
				_, _, _ = readPacket(in)
				_, _ = conn.Write([]byte("\x40\x02" + idOf(small)))
				_, _ = io.Copy(io.Discard, in)
			}()
			c := open(t, map[string]string{"CHANNEL_PASSWORD": "x"}, config(l.Addr().String(), "u", ""))
			other, cancelled := make(chan connectors.Result, 1), make(chan connectors.Result, 1)
			go func() { other <- apply(t, c, attempt("other", 1, "{}"))[0] }()
			<-first
			ctx, cancel := context.WithCancel(t.Context())
			go func() { cancelled <- c.Apply(ctx, []connectors.Attempt{large})[0] }()
			<-second
			cancel()
			if !blocks {
				close(release)
			}
			want(t, <-cancelled, passes, "canceled")
			if blocks {
				want(t, <-other, passes, "silent")
				close(release)
			} else {
				want(t, <-other, ok, "")
			}
			testkit.Must(t, c.Close(context.WithoutCancel(t.Context())))
			<-served
		})
	}
}

// A broker that never acknowledges a message, and is there otherwise, keeps the room that the
// message has. The connection ends, and the next one is as good as new.
func TestMessageThatIsNeverAcknowledgedStopsNoOther(t *testing.T) {
	const (
		one  = "\x20\x06\x00\x00\x03\x21\x00\x01" // a CONNACK: one message on its way at most
		ping = 12
	)
	var published atomic.Int64
	addr := fakeBroker(t, func(kind byte, packet []byte) (string, bool) {
		switch {
		case kind == connectPacket:
			return one, false
		case kind == ping:
			return "\xd0\x00", false
		case kind == publishPacket && published.Add(1) > 1:
			return "\x40\x02" + idOf(packet), false
		default:
			return "", false
		}
	})
	c := connect(t, map[string]string{"CHANNEL_PASSWORD": "x"}, config(addr, "u", ""))
	within := func(d time.Duration, key string) connectors.Result {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		return c.Apply(ctx, []connectors.Attempt{attempt(key, 1, "{}")})[0]
	}
	if res := within(200*time.Millisecond, "a"); res.Class == ok {
		t.Fatal("nobody has acknowledged it")
	}
	if res := within(1500*time.Millisecond, "b"); res.Class == ok {
		t.Fatal("there was room for one message")
	}
	want(t, within(testkit.Patience, "c"), ok, "")
}
