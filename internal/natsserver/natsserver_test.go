package natsserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/natsserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o natsserver.Options) *natsserver.Server {
	t.Helper()
	s, err := natsserver.Start(t.Context(), o)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { shutdown(t, s) })
	return s
}

func shutdown(t *testing.T, s *natsserver.Server) {
	t.Helper()
	if err := s.Shutdown(); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func client(t *testing.T, s *natsserver.Server) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect("", s.InProcess())
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatalf("jetstream: %v", err)
	}
	return nc, js
}

func TestRestartKeepsWhatWasStored(t *testing.T) {
	for _, d := range []natsserver.Durability{"", natsserver.DurableProcess, natsserver.DurablePower} {
		t.Run(fmt.Sprintf("durability=%q", d), func(t *testing.T) {
			o := natsserver.Options{StoreDir: filepath.Join(t.TempDir(), "made", "by", "start"), Durability: d}
			first := start(t, o)
			nc, js := client(t, first)
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept.>"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), "kept.one", []byte("payload")); err != nil {
				t.Fatal(err)
			}
			nc.Close()
			shutdown(t, first)

			_, js = client(t, start(t, o))
			stream, err := js.Stream(t.Context(), "KEPT")
			if err != nil {
				t.Fatal(err)
			}
			if got := stream.CachedInfo().Config.Storage; got != jetstream.FileStorage {
				t.Errorf("storage is %v, want file", got)
			}
			msg, err := stream.GetLastMsgForSubject(t.Context(), "kept.one")
			if err != nil {
				t.Fatal(err)
			}
			if string(msg.Data) != "payload" {
				t.Errorf("data = %q", msg.Data)
			}
		})
	}
}

func TestMaxStoreIsTheLimitOfAllStreams(t *testing.T) {
	_, js := client(t, start(t, natsserver.Options{StoreDir: t.TempDir(), MaxStore: 1 << 20}))
	cfg := jetstream.StreamConfig{Name: "FITS", Subjects: []string{"a"}, MaxBytes: 1 << 19}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Name, cfg.Subjects, cfg.MaxBytes = "TOO_MUCH", []string{"b"}, 1<<20
	if _, err := js.CreateStream(t.Context(), cfg); err == nil {
		t.Error("a stream beyond MaxStore was created")
	}
}

func TestNoListenerUnlessAsked(t *testing.T) {
	s := start(t, natsserver.Options{StoreDir: t.TempDir()})
	if url := s.ClientURL(); url != "" {
		t.Errorf("ClientURL = %q, want none", url)
	}
}

func TestListen(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "localhost:0"} {
		t.Run(listen, func(t *testing.T) {
			s := start(t, natsserver.Options{StoreDir: t.TempDir(), Listen: listen})
			if !strings.HasPrefix(s.ClientURL(), "nats://127.0.0.1:") {
				t.Fatalf("ClientURL = %q", s.ClientURL())
			}
			nc, err := nats.Connect(s.ClientURL())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if err := nc.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRefusedOptions(t *testing.T) {
	tests := map[string]struct {
		change func(*natsserver.Options)
		names  []string
	}{
		"every interface":       {func(o *natsserver.Options) { o.Listen = "0.0.0.0:4222" }, []string{"Listen", "0.0.0.0", "loopback"}},
		"every interface, IPv6": {func(o *natsserver.Options) { o.Listen = "[::]:4222" }, []string{"Listen", "loopback"}},
		"no host":               {func(o *natsserver.Options) { o.Listen = ":4222" }, []string{"Listen", "loopback"}},
		"private address":       {func(o *natsserver.Options) { o.Listen = "10.0.0.7:4222" }, []string{"Listen", "10.0.0.7"}},
		"a name":                {func(o *natsserver.Options) { o.Listen = "example.test:4222" }, []string{"Listen", "example.test"}},
		"no port":               {func(o *natsserver.Options) { o.Listen = "127.0.0.1" }, []string{"Listen", "host:port"}},
		"port too high":         {func(o *natsserver.Options) { o.Listen = "127.0.0.1:65536" }, []string{"Listen", "65536"}},
		"port below 0":          {func(o *natsserver.Options) { o.Listen = "127.0.0.1:-1" }, []string{"Listen", "-1"}},
		"no directory":          {func(o *natsserver.Options) { o.StoreDir = "" }, []string{"StoreDir"}},
		"unknown durability":    {func(o *natsserver.Options) { o.Durability = "forever" }, []string{"Durability", "forever"}},
		"negative limit":        {func(o *natsserver.Options) { o.MaxStore = -1 }, []string{"MaxStore"}},
		"all at once": {
			func(o *natsserver.Options) {
				*o = natsserver.Options{Listen: "0.0.0.0:1", Durability: "x", MaxStore: -1}
			},
			[]string{"StoreDir", "Durability", "MaxStore", "Listen"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := natsserver.Options{StoreDir: t.TempDir()}
			tt.change(&o)
			_, err := natsserver.Start(t.Context(), o)
			if !errors.Is(err, natsserver.ErrOptions) {
				t.Fatalf("error = %v, want ErrOptions", err)
			}
			for _, want := range tt.names {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not name %q", err, want)
				}
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	dir := t.TempDir()
	_, err = natsserver.Start(t.Context(), natsserver.Options{StoreDir: dir, Listen: l.Addr().String()})
	if !errors.Is(err, natsserver.ErrStart) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Fatalf("error = %v, want ErrStart that names %s", err, l.Addr())
	}
	// The failure left nothing behind that would keep the next one out.
	start(t, natsserver.Options{StoreDir: dir})
}

func TestOneServerPerDirectory(t *testing.T) {
	dir := t.TempDir()
	first := start(t, natsserver.Options{StoreDir: dir})
	_, err := natsserver.Start(t.Context(), natsserver.Options{StoreDir: dir})
	if !errors.Is(err, natsserver.ErrInUse) {
		t.Fatalf("error = %v, want ErrInUse", err)
	}
	shutdown(t, first)
	start(t, natsserver.Options{StoreDir: dir})
}

func TestDirectoryThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := natsserver.Start(t.Context(), natsserver.Options{StoreDir: filepath.Join(file, "below")})
	if !errors.Is(err, natsserver.ErrStart) {
		t.Fatalf("error = %v, want ErrStart", err)
	}
}

// The server reports a JetStream that cannot start through Fatalf only.
func TestServersFatalBecomesAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := natsserver.Start(t.Context(), natsserver.Options{StoreDir: dir})
	if !errors.Is(err, natsserver.ErrStart) || !strings.Contains(err.Error(), "storage directory") {
		t.Fatalf("error = %v, want ErrStart with the server's reason", err)
	}
}

func TestStartWithEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := natsserver.Start(ctx, natsserver.Options{StoreDir: t.TempDir()})
	if !errors.Is(err, natsserver.ErrStart) || !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v, want ErrStart and context.Canceled", err)
	}
}

func TestShutdownTwice(t *testing.T) {
	s := start(t, natsserver.Options{StoreDir: t.TempDir()})
	shutdown(t, s)
	shutdown(t, s)
	if _, err := nats.Connect("", s.InProcess()); err == nil {
		t.Error("connected to a server that was shut down")
	}
}

// buffer is a log that the server's goroutines may write to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestLog(t *testing.T) {
	const secret = "payload-that-must-not-be-logged"
	run := func(t *testing.T, level zerolog.Level) string {
		var log buffer
		s := start(t, natsserver.Options{StoreDir: t.TempDir(), Logger: zerolog.New(&log).Level(level)})
		nc, _ := client(t, s)
		if err := nc.Publish("subject", []byte(secret)); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		nc.Close()
		shutdown(t, s)
		return log.String()
	}
	t.Run("trace has the server's words but no payload", func(t *testing.T) {
		got := run(t, zerolog.TraceLevel)
		if !strings.Contains(got, `"component":"nats-server"`) || !strings.Contains(got, "Server is ready") {
			t.Errorf("the server's notices are missing:\n%s", got)
		}
		if strings.Contains(got, secret) {
			t.Errorf("the log holds a payload:\n%s", got)
		}
	})
	t.Run("info is silent when all is well", func(t *testing.T) {
		if got := run(t, zerolog.InfoLevel); got != "" {
			t.Errorf("log = %s", got)
		}
	})
}
