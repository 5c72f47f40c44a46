// Package natstest gives tests a real broker of their own.
package natstest

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/natsserver"
)

// Options say how to run the broker. The zero value suits most tests.
type Options struct {
	// TCP opens a listener on a free loopback port, for clients in other
	// processes and for tests that cut connections. A restart keeps the port.
	TCP bool
	// Durability is that of the server. Defaults to natsserver.DurableProcess.
	Durability natsserver.Durability
}

// A Broker is an embedded server with JetStream, its data in the test's
// temporary directory, and a client.
type Broker struct {
	Server *natsserver.Server
	Conn   *nats.Conn // connected in process
	JS     jetstream.JetStream
	Dir    string // of the server's storage

	opts natsserver.Options
	link link
}

// Run starts a broker. It ends with the test, and so do the connections made
// through Connect.
func Run(t testing.TB, opts ...Options) *Broker {
	t.Helper()
	b := &Broker{Dir: t.TempDir()}
	b.opts = natsserver.Options{StoreDir: b.Dir, Logger: testLogger()}
	for _, o := range opts {
		b.opts.Durability = o.Durability
		if o.TCP {
			b.opts.Listen = "127.0.0.1:0"
		}
	}
	b.start(t)
	t.Cleanup(func() { b.Stop(t) })
	return b
}

// Stop ends the server as a shutdown of its process would; what is stored stays.
// Start brings it back.
func (b *Broker) Stop(t testing.TB) {
	t.Helper()
	b.Conn.Close()
	b.link.server.Store(nil)
	if err := b.Server.Shutdown(); err != nil {
		t.Errorf("broker: %v", err)
	}
}

// Start brings the server back after Stop, with the same data and the same port.
// Server, Conn and JS are new afterwards; clients made by Connect or over TCP
// reconnect by themselves.
func (b *Broker) Start(t testing.TB) {
	t.Helper()
	b.start(t)
}

// Kill is Stop and Start of a server that was killed (SIGKILL): the next one finds the
// files as they are now, without what a shutdown writes. Nobody may write meanwhile.
func (b *Broker) Kill(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	copyDir(t, dir, b.Dir)
	b.Stop(t)
	b.Dir, b.opts.StoreDir = dir, dir
	b.start(t)
}

// KeepFiles restarts the server and keeps a copy of a stream's files. putBack restarts
// it with them: what was deleted or acked since is there again, as it is when a killed
// server forgets deletions (docs/adr/0032).
func (b *Broker) KeepFiles(t testing.TB, stream string) (putBack func()) {
	t.Helper()
	kept := t.TempDir()
	live := func() string { return filepath.Join(b.Dir, "jetstream", "$G", "streams", stream) }
	b.Stop(t)
	copyDir(t, kept, live())
	b.start(t)
	return func() {
		t.Helper()
		b.Stop(t)
		if err := os.RemoveAll(live()); err != nil {
			t.Fatalf("broker: %v", err)
		}
		copyDir(t, live(), kept)
		b.start(t)
	}
}

// copyDir copies files that a server may be removing, such as those of a stream that
// was deleted.
func copyDir(t testing.TB, to, from string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = copyEntry(filepath.Join(to, strings.TrimPrefix(path, from)), path, d)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatalf("copy the broker's files: %v", err)
	}
}

func copyEntry(to, from string, d fs.DirEntry) error {
	if d.IsDir() {
		return os.MkdirAll(to, 0o700)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

func (b *Broker) start(t testing.TB) {
	t.Helper()
	var err error
	if b.Server, err = natsserver.Start(t.Context(), b.opts); err != nil {
		t.Fatalf("broker: %v", err)
	}
	if url := b.Server.ClientURL(); url != "" {
		b.opts.Listen = strings.TrimPrefix(url, "nats://")
	}
	b.link.server.Store(b.Server)
	b.Conn = b.Connect(t)
	if b.JS, err = jetstream.New(b.Conn); err != nil {
		t.Fatalf("broker: %v", err)
	}
}

// Connect returns another in-process client, closed at the end of the test.
func (b *Broker) Connect(t testing.TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	opts = append([]nats.Option{b.InProcess(), nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond)}, opts...)
	nc, err := nats.Connect("", opts...)
	if err != nil {
		t.Fatalf("connect to the broker: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// InProcess returns the option that connects a client without a socket, to
// whichever server runs at the moment.
func (b *Broker) InProcess() nats.Option { return nats.InProcessServer(&b.link) }

// URL returns the address for clients over TCP, "" without Options.TCP.
func (b *Broker) URL() string { return b.Server.ClientURL() }

// testLogger writes warnings and errors of the server to standard error. Not to
// the test's log: the server may say something after the test has ended.
func testLogger() zerolog.Logger {
	return zerolog.New(os.Stderr).Level(zerolog.WarnLevel)
}

// link leads in-process clients to the server that runs now.
type link struct {
	server atomic.Pointer[natsserver.Server]
}

// InProcessConn connects to the server, if there is one.
func (l *link) InProcessConn() (net.Conn, error) {
	if s := l.server.Load(); s != nil {
		return s.InProcessConn()
	}
	return nil, errors.New("the test's broker is stopped")
}
