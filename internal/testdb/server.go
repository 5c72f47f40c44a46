package testdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// An engine knows one kind of database server.
type engine interface {
	name() string
	// find locates the binaries. Its error says which package to install.
	find() error
	// initialise lists the command that fills the data directory.
	initialise(s *Server) []string
	// configure writes files into the data directory once it is filled.
	configure(s *Server) error
	serve(s *Server) []string
	// stopSignal ends the server at once but lets it give back what the kernel
	// would keep.
	stopSignal() string
	// exec connects to a database and runs one statement. An empty database is
	// the one that every server has.
	exec(ctx context.Context, s *Server, database, statement string) error
	dsn(s *Server, database string) string
}

// Time that a server gets to be ready, and after which it is started anew if it
// is not: one that was killed can find its predecessor's memory still in use.
const (
	readyWithin  = 60 * time.Second
	restartAfter = 10 * time.Second
	pollEvery    = 20 * time.Millisecond
)

// A patient engine has servers that take longer than others to be ready. They are not started
// anew.
type patient interface{ startsWithin() time.Duration }

// times returns the time that a server gets to be ready, and after which it is started anew.
func times(e engine) (ready, restart time.Duration) {
	if p, ok := e.(patient); ok {
		return p.startsWithin(), p.startsWithin()
	}
	return readyWithin, restartAfter
}

// A Server is a running database server. Its methods may be called concurrently,
// Stop and Start excepted.
type Server struct {
	engine engine
	dir    string // the server's, with data/, its socket, its log
	port   int
	owner  *owner
	sup    *supervisor
	dbs    atomic.Int64
}

func launch(e engine) (_ *Server, err error) {
	if err := e.find(); err != nil {
		return nil, err
	}
	own, err := unprivileged()
	if err != nil {
		return nil, err
	}
	s := &Server{engine: e, owner: own}
	if s.dir, err = os.MkdirTemp(placeFor(e), "testdb-"); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	if s.sup, err = supervise(s.dir, s.owner, e.stopSignal(), e.serve(s)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// A slowed server waits for the disk, and no setting keeps it from that.
type slowed interface{ waitsForDisk() }

// placeFor returns where the directory of a server is to be: in memory, if there is room for
// files and the server is slowed, else where all temporary files are.
func placeFor(e engine) string {
	const memory = "/dev/shm"
	if _, ok := e.(slowed); !ok {
		return ""
	}
	if info, err := os.Stat(memory); err != nil || !info.IsDir() {
		return ""
	}
	return memory
}

func (s *Server) prepare() error {
	var err error
	if s.port, err = freePort(); err != nil {
		return err
	}
	if err := writeCertificates(s.dir); err != nil {
		return err
	}
	if err := s.owner.takeOver(s.dir); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	argv := s.engine.initialise(s)
	if out, err := s.owner.command(ctx, s.dir, argv).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(argv[0]), err, bytes.TrimSpace(out))
	}
	if err := s.engine.configure(s); err != nil {
		return err
	}
	return s.owner.takeOver(s.dir)
}

// start runs the server and waits until it answers.
func (s *Server) start() error {
	ready, restart := times(s.engine)
	ctx, cancel := context.WithTimeout(context.Background(), ready)
	defer cancel()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	var last error
	for started := (time.Time{}); ; {
		if time.Since(started) > restart {
			if err := s.sup.tell("start"); err != nil {
				return err
			}
			started = time.Now()
		}
		if last = s.ping(ctx); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %v: %w; its log: %s", s.engine.name(), ready, last, s.log())
		case <-poll.C:
		}
	}
}

func (s *Server) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if e, ok := s.engine.(interface {
		ping(ctx context.Context, s *Server) error
	}); ok { // it speaks no SQL
		return e.ping(ctx, s)
	}
	return s.engine.exec(ctx, s, "", "SELECT 1")
}

// log returns the end of what the server has written.
func (s *Server) log() string {
	data, err := os.ReadFile(filepath.Join(s.dir, logName))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

func (s *Server) close() error { return s.sup.close() }

// CreateDatabase makes a fresh, empty database and returns how to connect to it.
func (s *Server) CreateDatabase(t testing.TB) string {
	t.Helper()
	name := "test_" + strconv.FormatInt(s.dbs.Add(1), 10)
	s.Exec(t, "", "CREATE DATABASE "+name)
	return s.engine.dsn(s, name)
}

// Exec runs one statement as the administrator. An empty database is the one
// that every server has.
func (s *Server) Exec(t testing.TB, database, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	if err := s.engine.exec(ctx, s, database, statement); err != nil {
		t.Fatalf("testdb: %s: %s: %v", s.engine.name(), statement, err)
	}
}

// Addr returns the server's host and port. They stay when it is started again.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// CAFile returns the path of the certificate, in PEM, that has signed the
// server's own.
func (s *Server) CAFile() string { return filepath.Join(s.dir, caName) }

// Stop kills the server with SIGKILL, as a crash would, and returns when it is
// gone. Its data stay.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.sup.tell("kill"); err != nil {
		t.Fatalf("testdb: stopping %s: %v", s.engine.name(), err)
	}
}

// Start starts a stopped server on the same address and returns when it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("testdb: %v", err)
	}
}

// freePort returns a loopback port that was free a moment ago.
func freePort() (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
