package connhttp

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// quietLog drops what servers say of handshakes that are meant to fail.
func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }

func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	good, goodKey := ours.issue(t, time.Hour, "127.0.0.1")
	named, namedKey := ours.issue(t, time.Hour, "192.0.2.1", "target.example")
	expired, expiredKey := ours.issue(t, -time.Minute, "127.0.0.1")
	foreign, foreignKey := theirs.issue(t, time.Hour, "127.0.0.1")
	for _, c := range []struct {
		name      string
		cert, key string
		clients   *authority
		config    connkit.TLS
		want      connectors.Class
		code      string
	}{
		{"trusted by its CA", good, goodKey, nil, connkit.TLS{CA: connectors.Ref(ours.pem)}, connectors.OK, "200"},
		{"not trusted by the system", good, goodKey, nil, connkit.TLS{}, connectors.Misconfigured, "tls_verify"},
		{"another CA", foreign, foreignKey, nil, connkit.TLS{CA: connectors.Ref(ours.pem)}, connectors.Misconfigured, "tls_verify"},
		{"another name", named, namedKey, nil, connkit.TLS{CA: connectors.Ref(ours.pem)}, connectors.Misconfigured, "tls_verify"},
		{"expected name", named, namedKey, nil, connkit.TLS{CA: connectors.Ref(ours.pem), ServerName: "target.example"}, connectors.OK, "200"},
		{"expired", expired, expiredKey, nil, connkit.TLS{CA: connectors.Ref(ours.pem)}, connectors.Misconfigured, "tls_verify"},
		{"client certificate", good, goodKey, ours, connkit.TLS{CA: connectors.Ref(ours.pem), Cert: "${env:CERT}", Key: "${env:KEY}"}, connectors.OK, "200"},
		{"no client certificate", good, goodKey, ours, connkit.TLS{CA: connectors.Ref(ours.pem)}, connectors.Misconfigured, "tls_alert"},
		{"refused client certificate", good, goodKey, theirs, connkit.TLS{CA: connectors.Ref(ours.pem), Cert: "${env:CERT}", Key: "${env:KEY}"}, connectors.Misconfigured, "tls_alert"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var proto atomic.Value
			s := serveTLS(t, c.cert, c.key, c.clients, func(_ http.ResponseWriter, r *http.Request) { proto.Store(r.Proto) })
			env := connectortest.Env(map[string]string{"CERT": good, "KEY": goodKey})
			conn, err := New(t.Context(), env, Config{URL: connectors.Ref(s.URL), TLS: c.config, AllowCIDRs: []string{"127.0.0.0/8"}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(t.Context()) }()
			got := applyOne(t, conn)
			wantResult(t, got, c.want, c.code)
			if c.want == connectors.OK && proto.Load() != "HTTP/2.0" {
				t.Errorf("spoke %v, want HTTP/2", proto.Load())
			}
			if got.Err != nil && strings.Contains(got.Err.Error(), "PRIVATE") {
				t.Errorf("error: %v", got.Err)
			}
		})
	}
}

// TestNoAnswer: failures of real connections and the code of each.
func TestNoAnswer(t *testing.T) {
	silent := listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	// What comes is read first: closing a connection with something unread resets
	// it.
	closing := listen(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, maxBody))
		_ = conn.Close()
	})
	garbage := listen(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, maxBody))
		_, _ = io.WriteString(conn, "HTTP/1.1 secret-in-the-answer\r\n\r\n")
		_ = conn.Close()
	})
	closed := listen(t, func(net.Conn) {})
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	const quick, whole = time.Minute, 200 * time.Millisecond
	for _, c := range []struct {
		name, url string
		timeout   time.Duration
		code      string
	}{
		{"nobody listens", "http://" + closed.Addr().String(), quick, "refused"},
		{"nothing in time", "http://" + silent.Addr().String(), whole, "timeout"},
		{"no TLS handshake in time", "https://" + silent.Addr().String(), quick, "timeout"},
		{"closed at once", "http://" + closing.Addr().String(), quick, "closed"},
		{"not HTTP", "http://" + garbage.Addr().String(), quick, "transport"},
		{"not TLS", "https://" + garbage.Addr().String(), quick, "tls"},
		{"no such name", "http://no-such-name.invalid", quick, "dns"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := connectors.Ref(c.url + "/secret-in-the-path?x=secret-in-the-query")
			conn := openResolving(t, c.timeout, Config{URL: url, ConnectTimeout: ms(200), AllowCIDRs: []string{"127.0.0.0/8"}}, newNameServer(t).resolver())
			start := time.Now()
			got := applyOne(t, conn)
			wantResult(t, got, connectors.Transient, c.code)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %v, longer than every bound but the whole", took)
			}
			if strings.Contains(got.Err.Error(), "secret") {
				t.Errorf("the error shows what it must not: %v", got.Err)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		conn := openTest(t, Config{URL: connectors.Ref("http://" + silent.Addr().String()), AllowCIDRs: []string{"127.0.0.0/8"}}, deps{now: time.Now})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantResult(t, conn.Apply(ctx, []connectors.Attempt{testAttempt()})[0], connectors.Transient, "canceled")
	})
	t.Run("later than the caller waits", func(t *testing.T) {
		conn := openTest(t, Config{URL: connectors.Ref("http://" + silent.Addr().String()), AllowCIDRs: []string{"127.0.0.0/8"}}, deps{now: time.Now})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		wantResult(t, conn.Apply(ctx, []connectors.Attempt{testAttempt()})[0], connectors.Transient, "timeout")
	})
}

func ms(n int) connectors.Duration { return connectors.Duration(time.Duration(n) * time.Millisecond) }

// listen serves every connection with f, each in a goroutine.
func listen(t *testing.T, f func(net.Conn)) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			go f(conn)
		}
	}()
	return l
}

// TestNothingIsSentTwice: net/http sends a request again by itself when a kept
// connection breaks, if it knows the request to be idempotent. Attempts are for
// the engine to count.
func TestNothingIsSentTwice(t *testing.T) {
	for _, body := range []string{"payload", "tombstone"} {
		t.Run(body, func(t *testing.T) {
			var requests atomic.Int32
			conn := openTo(t, Config{Delete: &Shape{Method: "POST"}}, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if requests.Add(1) > 1 {
					panic(http.ErrAbortHandler)
				}
			})
			a := testAttempt()
			if body == "tombstone" {
				a = testTombstone()
			}
			wantResult(t, apply(t, conn, a), connectors.OK, "200") // and the connection is kept
			wantResult(t, apply(t, conn, a), connectors.Transient, "closed")
			if n := requests.Load(); n != 2 {
				t.Errorf("%d requests for 2 attempts", n)
			}
		})
	}
}

// TestHTTP2StreamIsReset: a lost answer is no reason to send again there either,
// and the connection stays usable.
func TestHTTP2StreamIsReset(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Hour, "127.0.0.1")
	var requests atomic.Int32
	s := serveTLS(t, cert, key, nil, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if requests.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
	})
	conn := openTest(t, Config{URL: connectors.Ref(s.URL), TLS: connkit.TLS{CA: connectors.Ref(ca.pem)}, AllowCIDRs: []string{"127.0.0.0/8"}}, deps{now: time.Now})
	wantResult(t, applyOne(t, conn), connectors.OK, "200")
	wantResult(t, applyOne(t, conn), connectors.Transient, "transport")
	wantResult(t, applyOne(t, conn), connectors.OK, "200")
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests for 3 attempts", n)
	}
}

// TestPoolFitsConcurrency: as many connections are kept as calls run at once.
func TestPoolFitsConcurrency(t *testing.T) {
	const rounds = 10
	var conns atomic.Int32
	arrived := make(chan struct{})
	release := make(chan struct{})
	s := &http.Server{
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			arrived <- struct{}{}
			<-release
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				conns.Add(1)
			}
		},
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	conn := openTest(t, Config{URL: connectors.Ref("http://" + l.Addr().String()), AllowCIDRs: []string{"127.0.0.0/8"}}, deps{now: time.Now})
	n := testEnv().Concurrency
	for range rounds {
		results := make(chan connectors.Result, n)
		for i := range n {
			a := testAttempt()
			a.Key = fmt.Sprint(i)
			go func() { results <- conn.Apply(t.Context(), []connectors.Attempt{a})[0] }()
		}
		for range n {
			<-arrived
		}
		for range n {
			release <- struct{}{}
		}
		for range n {
			wantResult(t, <-results, connectors.OK, "200")
		}
	}
	// A connection that is given back a moment too late costs one more. The default
	// of net/http, which keeps two, would cost n-2 in each round.
	if got := int(conns.Load()); got > n*rounds/2 {
		t.Errorf("%d connections for %d calls at once, %d times", got, n, rounds)
	}
}

// A target that took 25 s was cut off after 20 by a bound of our own, on a channel with a
// timeout of a minute.
func TestChannelsTimeoutIsTheOneBound(t *testing.T) {
	const timeout = time.Minute
	conn := openWithin(t, timeout, Config{URL: "https://example.org"}, deps{now: time.Now}).(*connector) //nolint:forcetypeassert // it is one
	if d := conn.transport.ResponseHeaderTimeout; d != 0 {
		t.Errorf("the answer's header must come within %s", d)
	}
	before := time.Now()
	ctx, cancel := conn.bounded(t.Context())
	defer cancel()
	if end, bounded := ctx.Deadline(); !bounded || end.Before(before.Add(timeout)) || end.After(time.Now().Add(timeout)) {
		t.Errorf("a request ends after %s, want %s", end.Sub(before), timeout)
	}
}
