package connmqtt_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// A relay keeps what clients send on their first connection for later.
type relay struct {
	listener net.Listener
	server   string
	hold     atomic.Bool
	late     chan struct{} // closed when what was kept may arrive
	arrived  chan struct{} // closed when it has, or cannot any more
}

func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	r := &relay{listener: l, server: server, late: make(chan struct{}), arrived: make(chan struct{})}
	t.Cleanup(func() { _ = l.Close() }) // it only listens
	go func() {
		for n := 0; ; n++ {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(client, n == 0)
		}
	}()
	return r
}

func (r *relay) serve(client net.Conn, first bool) {
	broker, err := new(net.Dialer).DialContext(context.Background(), "tcp", r.server)
	if err != nil {
		_ = client.Close()
		return
	}
	go func() { _, _ = io.Copy(client, broker) }() // it ends with either
	if first {
		defer close(r.arrived)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if n > 0 {
			if first && r.hold.Load() {
				<-r.late
				_, _ = broker.Write(buf[:n])
				_ = broker.(*net.TCPConn).CloseWrite() // the broker has read all when it closes
				_, _ = io.Copy(io.Discard, broker)
				_ = broker.Close()
				return
			}
			if _, err := broker.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			_ = broker.Close()
			return
		}
	}
}

// What a connection that was given up had sent does not arrive behind what came after it.
func TestWhatAConnectionHasLeftNeverArrives(t *testing.T) {
	for name, sameID := range map[string]bool{"one connector": true, "another one": false} {
		t.Run(name, func(t *testing.T) {
			s := testdb.StartMosquitto(t)
			r := newRelay(t, s.Addr())
			c := connect(t, secrets(s), config(r.listener.Addr().String(), s.User, ""))
			want(t, apply(t, c, attempt("k", 1, `{"v":1}`))[0], connectors.OK, "")
			r.hold.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			want(t, c.Apply(ctx, []connectors.Attempt{attempt("k", 2, `{"v":2}`)})[0], connectors.Transient, "timeout")
			next := c
			if !sameID {
				next = connect(t, secrets(s), config(s.Addr(), s.User, ""))
			}
			want(t, apply(t, next, attempt("k", 3, `{"v":3}`))[0], connectors.OK, "")
			close(r.late)
			<-r.arrived
			got := versionOf(t, retained(t, s, "k"))
			if sameID && got != testkit.Number(3) {
				t.Errorf("the broker holds version %s", got)
			}
			if !sameID && got != testkit.Number(2) {
				t.Errorf("the broker holds version %s: the test shows nothing, as nothing was late", got)
			}
		})
	}
}

// Two workers of one channel do not end each other's connections.
func TestTwoWorkersStayConnected(t *testing.T) {
	s := testdb.StartMosquitto(t)
	one, other := connect(t, secrets(s), config(s.Addr(), s.User, "")), connect(t, secrets(s), config(s.Addr(), s.User, ""))
	for v := int64(1); v <= 50; v++ {
		want(t, apply(t, one, attempt("one", v, "{}"))[0], connectors.OK, "")
		want(t, apply(t, other, attempt("other", v, "{}"))[0], connectors.OK, "")
	}
}

// A call that is cancelled leaves the connection to the others.
func TestCancelledCallHarmsNoOther(t *testing.T) {
	release := make(chan struct{})
	var connects atomic.Int64
	addr := fakeBroker(t, func(kind byte, packet []byte) (string, bool) {
		switch kind {
		case connectPacket:
			connects.Add(1)
			return connack, false
		case publishPacket:
			<-release
			return "\x40\x02" + idOf(packet), false
		default:
			return "", false
		}
	})
	c := connect(t, map[string]string{"CHANNEL_PASSWORD": "x"}, config(addr, "u", ""))
	ctx, cancel := context.WithCancel(t.Context())
	var both sync.WaitGroup
	both.Go(func() {
		want(t, c.Apply(ctx, []connectors.Attempt{attempt("a", 1, "{}")})[0], connectors.Transient, "canceled")
	})
	both.Go(func() { want(t, apply(t, c, attempt("b", 1, "{}"))[0], connectors.OK, "") })
	testkit.Eventually(t, "it is connected", func() bool { return connects.Load() == 1 })
	cancel()
	close(release)
	both.Wait()
	want(t, apply(t, c, attempt("a", 2, "{}"))[0], connectors.OK, "")
	if n := connects.Load(); n != 1 {
		t.Errorf("%d connections were made", n)
	}
}

// The broker is killed while messages are on their way, and comes back: every key ends at its
// newest version.
func TestBrokerKilledInTheMiddleOfCalls(t *testing.T) {
	s := testdb.StartMosquitto(t, "autosave_on_changes true", "autosave_interval 1")
	c := connect(t, secrets(s), config(s.Addr(), s.User, ""))
	want(t, apply(t, c, attempt("before", 1, "{}"))[0], connectors.OK, "")
	testkit.Eventually(t, "what is delivered is on the disk", func() bool {
		s.Stop(t)
		s.Start(t)
		if m := retained(t, s, "before"); m != nil && versionOf(t, m) == testkit.Number(1) && keyOf(m) == "before" {
			return true
		}
		want(t, apply(t, c, attempt("before", 1, "{}"))[0], connectors.OK, "")
		return false
	})
	const keys, enough = 16, 160
	var written, failed atomic.Int64
	var last [keys]int64 // the version that a key ends with, which was sent to the broker that came back
	busy, back := make(chan struct{}), make(chan struct{})
	isBusy := sync.OnceFunc(func() { close(busy) })
	var writers sync.WaitGroup
	for k := range keys {
		writers.Go(func() {
			defer isBusy() // also when it fails
			for v := int64(1); ; v++ {
				isBack := false
				select {
				case <-back:
					isBack = true
				default:
				}
				a := attempt(fmt.Sprintf("key-%02d", k), v, fmt.Sprintf(`{"v":%d}`, v))
				for {
					res := apply(t, c, a)[0]
					if res.Class == connectors.OK {
						break
					}
					if res.Class != connectors.Transient {
						t.Errorf("%s@%d: %s %q, %v, %s", a.Key, v, res.Class, res.Code, res.Err, res.Response)
						return
					}
					failed.Add(1)
					<-back
				}
				if written.Add(1) == enough {
					isBusy()
				}
				if last[k] = v; isBack {
					return
				}
			}
		})
	}
	<-busy
	s.Stop(t)
	s.Start(t)
	close(back)
	writers.Wait()
	if failed.Load() == 0 {
		t.Error("no call met a broker that was killed")
	}
	t.Logf("%d calls failed", failed.Load())
	for k := range keys {
		key := fmt.Sprintf("key-%02d", k)
		if m := retained(t, s, key); m == nil || versionOf(t, m) != testkit.Number(last[k]) || string(m.Payload) != fmt.Sprintf(`{"v":%d}`, last[k]) {
			t.Errorf("%s ends with %+v, want %d", key, m, last[k])
		}
	}
}

// Mosquitto writes down what it keeps when it is stopped, and every half an hour: killed in
// between it has forgotten what it has acknowledged. A read tells, and a resync mends it.
func TestKilledMosquittoForgets(t *testing.T) {
	s := testdb.StartMosquitto(t)
	c := connect(t, secrets(s), config(s.Addr(), s.User, "read_wait: 300ms\n"))
	a := attempt("k", 1, "{}")
	want(t, apply(t, c, a)[0], connectors.OK, "")
	s.Stop(t)
	s.Start(t)
	held, err := c.Read(t.Context(), []string{"k"})
	testkit.Must(t, err)
	if !held[0].IsZero() {
		t.Fatalf("it has kept %s: say so in docs/queues.md", held[0].Version)
	}
	a.Again = true
	testkit.Eventually(t, "it is delivered again", func() bool { return apply(t, c, a)[0].Class == connectors.OK })
	if held, err = c.Read(t.Context(), []string{"k"}); err != nil || held[0].Version != a.Version {
		t.Errorf("%+v, %v", held, err)
	}
}
