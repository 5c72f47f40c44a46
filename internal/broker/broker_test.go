package broker_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/pkg/extsync"
)

func TestConnectInProcessNeedsNoURL(t *testing.T) {
	b := natstest.Run(t)
	connect(t, broker.Config{}, b.InProcess())
}

func TestNameAndInboxPrefix(t *testing.T) {
	s := serve(t, &server.Options{})
	nc := connect(t, broker.Config{URL: s.ClientURL(), Name: "worker-7", InboxPrefix: "_INBOX_worker"})
	if inbox := nc.NewInbox(); !strings.HasPrefix(inbox, "_INBOX_worker.") {
		t.Errorf("inbox = %s", inbox)
	}
	conns, err := s.Connz(nil)
	if err != nil || len(conns.Conns) != 1 || conns.Conns[0].Name != "worker-7" {
		t.Errorf("the server's connections = %+v, %v", conns, err)
	}
}

func TestConnectionOutlivesTheContext(t *testing.T) {
	s := serve(t, &server.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	nc, err := broker.Connect(ctx, broker.Config{URL: s.ClientURL()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	cancel()
	if err := nc.Flush(); err != nil {
		t.Errorf("after the context ended: %v", err)
	}
}

func TestSecondAddressIsTried(t *testing.T) {
	s := serve(t, &server.Options{})
	connect(t, broker.Config{URL: freeAddress(t) + "," + s.ClientURL()})
}

// freeAddress returns a loopback address where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestConnectErrors(t *testing.T) {
	const secret = "s3cret-of-the-url"
	guarded := serve(t, &server.Options{Username: "user", Password: "right"})
	address := strings.TrimPrefix(guarded.ClientURL(), "nats://")
	nobody := freeAddress(t)
	other := freeAddress(t)
	missing := t.TempDir() + "/missing"
	garbage := writeFile(t, "garbage", []byte("SUA"+secret))
	tests := map[string]struct {
		config broker.Config
		names  []string
		is     error
		away   bool
	}{
		"nobody listens": {
			config: broker.Config{URL: "nats://user:" + secret + "@" + nobody},
			names:  []string{"nats://" + nobody, "connection refused", "check that the broker runs"},
			away:   true,
		},
		"token": {
			config: broker.Config{URL: "nats://" + secret + "@" + nobody},
			names:  []string{"nats://" + nobody},
			away:   true,
		},
		"several, nobody listens": {
			config: broker.Config{URL: nobody + "," + other},
			names:  []string{nobody, other},
			away:   true,
		},
		"name that does not resolve": {
			config: broker.Config{URL: "nats://user:" + secret + "@nats.invalid:4222"},
			names:  []string{"nats://nats.invalid:4222", "check that the broker runs"},
			away:   true,
		},
		"wrong password": {
			config: broker.Config{URL: "nats://user:" + secret + "@" + address},
			names:  []string{address, "refused our credentials"},
			is:     nats.ErrAuthorization,
		},
		"not a NATS server": {
			config: broker.Config{URL: answerWith(t, "HTTP/1.1 400 Bad Request\r\n\r\n")},
			names:  []string{"check the address and what runs there"},
			is:     nats.ErrNoInfoReceived,
		},
		"TLS where there is none": {
			config: broker.Config{URL: "tls://" + address},
			names:  []string{"tls://" + address, "check the tls settings"},
			is:     nats.ErrSecureConnWanted,
		},
		"no CA file":         {config: broker.Config{URL: nobody, TLS: broker.TLS{CAFile: missing}}, names: []string{missing}},
		"no certificate":     {config: broker.Config{URL: nobody, TLS: broker.TLS{CertFile: missing, KeyFile: missing}}, names: []string{missing}},
		"no nkey seed":       {config: broker.Config{URL: nobody, NKeySeedFile: missing}, names: []string{missing}},
		"bad nkey seed":      {config: broker.Config{URL: nobody, NKeySeedFile: garbage}, names: []string{garbage}},
		"no credentials":     {config: broker.Config{URL: address, CredsFile: missing}, names: []string{missing}},
		"garbage credential": {config: broker.Config{URL: address, CredsFile: garbage}, names: []string{address}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			nc, err := broker.Connect(t.Context(), tt.config, zerolog.New(&log))
			if err == nil {
				nc.Close()
				t.Fatal("connected")
			}
			if !errors.Is(err, extsync.ErrConnect) {
				t.Errorf("error = %v, want ErrConnect", err)
			}
			if away := errors.Is(err, extsync.ErrAway); away != tt.away {
				t.Errorf("error = %v, that it is away: %t", err, away)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error = %v, want one that is %v", err, tt.is)
			}
			for _, want := range tt.names {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not name %q", err, want)
				}
			}
			if strings.Contains(err.Error()+log.String(), secret) {
				t.Errorf("a credential shows in error %q or log %q", err, log.String())
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q is more than one line", err)
			}
		})
	}
}

// answerWith runs something that is not a NATS server and returns its address.
// It says text, if any, and then nothing more.
func answerWith(t *testing.T, text string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			if _, err := conn.Write([]byte(text)); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func TestContextEndsTheHandshake(t *testing.T) {
	silent := answerWith(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := broker.Connect(ctx, broker.Config{URL: silent}, zerolog.Nop())
	if !errors.Is(err, extsync.ErrConnect) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error = %v, want ErrConnect and the deadline", err)
	}
	if !strings.Contains(err.Error(), silent) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("error = %q", err)
	}
	// The client's own timeout is 5 s.
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := broker.Connect(ctx, broker.Config{URL: freeAddress(t)}, zerolog.Nop())
	if !errors.Is(err, extsync.ErrConnect) || !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v, want ErrConnect and context.Canceled", err)
	}
}
