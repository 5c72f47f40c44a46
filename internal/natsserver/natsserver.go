// Package natsserver runs a NATS server with JetStream inside this process, for
// the modes that must work on a machine with nothing installed, and for tests.
package natsserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// Errors of Start. Callers match them with errors.Is.
var (
	// ErrOptions says that the options cannot work. The message names every bad
	// field.
	ErrOptions = errors.New("invalid options of the embedded broker")
	// ErrInUse says that the storage directory belongs to another process.
	ErrInUse = errors.New("storage directory is in use")
	// ErrStart says that the server could not be brought up.
	ErrStart = errors.New("embedded broker did not start")
)

// Durability says what stored messages survive.
type Durability string

// The durabilities. The zero value counts as DurableProcess.
const (
	// DurableProcess: what was stored survives the end of the process, kill -9
	// too. A power failure may take the last two minutes.
	DurableProcess Durability = "process"
	// DurablePower: every message is on the disk before it is confirmed. It
	// costs one fsync for each, some thousands a second for everything together.
	DurablePower Durability = "power"
)

const (
	// DefaultMaxStore is the default of Options.MaxStore, in bytes.
	DefaultMaxStore = 16 << 30
	// maxMemory bounds streams in memory, in bytes. Without it the server would
	// take three quarters of the machine's memory for its limit.
	maxMemory = 256 << 20
)

// Options say how to run the server.
type Options struct {
	// StoreDir holds all streams. It is made if it does not exist, and used by
	// one server at a time. Required.
	StoreDir string
	// Durability defaults to DurableProcess.
	Durability Durability
	// Listen is the address for clients in other processes, as host:port. There
	// is no authentication, so the host must be a loopback address or
	// "localhost" (which stands for 127.0.0.1). Port 0 takes a free one: see
	// ClientURL. Defaults to no listener at all.
	Listen string
	// MaxStore is how many bytes all streams together may reserve or occupy.
	// Nothing is taken from the disk in advance. Defaults to DefaultMaxStore.
	MaxStore int64
	// Logger gets what the server says. The zero Logger is silent.
	Logger zerolog.Logger
}

// A Server is a running NATS server. It is safe for concurrent use.
type Server struct {
	nats   *server.Server
	listen bool
	lock   *dirLock
}

// Start runs a server and returns when it takes connections. It fails with
// ErrOptions, ErrInUse or ErrStart, and then leaves nothing running. If ctx ends
// during the start, the start is undone; a running server does not depend on it.
func Start(ctx context.Context, o Options) (*Server, error) {
	so, err := o.forServer()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	if err := checkPort(ctx, so); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: cannot make the storage directory: %w", ErrStart, err)
	}
	lock, err := lockDir(o.StoreDir)
	if err != nil {
		return nil, err
	}
	srv, err := run(so, o.Logger)
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	s := &Server{nats: srv, listen: !so.DontListen, lock: lock}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrStart, err), s.Shutdown())
	}
	return s, nil
}

// run starts the server. Its Start returns when everything is up, or after it
// has called the logger's Fatalf, which is the only way it reports a failure.
func run(so *server.Options, logger zerolog.Logger) (*server.Server, error) {
	srv, err := server.NewServer(so)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	bridge := newBridge(logger)
	// The trace flag stays off whatever the level: it would log payloads.
	srv.SetLoggerV2(bridge, logger.GetLevel() <= zerolog.TraceLevel, false, false)
	srv.Start()
	if msg := bridge.fatal(); msg != "" {
		stop(srv)
		return nil, fmt.Errorf("%w: %s", ErrStart, msg)
	}
	return srv, nil
}

func stop(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// InProcess returns the option that connects a client without a socket. The URL
// given to nats.Connect beside it is not used.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s) }

// InProcessConn returns one end of a new connection that does not leave the
// process. It is what InProcess uses.
func (s *Server) InProcessConn() (net.Conn, error) { return s.nats.InProcessConn() }

// ClientURL returns the URL for clients in other processes, "" if the server
// does not listen.
func (s *Server) ClientURL() string {
	if !s.listen {
		return ""
	}
	return s.nats.ClientURL()
}

// Shutdown stops the server and waits until nothing of it runs any more. What
// was stored stays. It may be called more than once.
func (s *Server) Shutdown() error {
	stop(s.nats)
	return s.lock.release()
}

// forServer checks the options and returns the server's.
func (o Options) forServer() (*server.Options, error) {
	var bad []string
	so := &server.Options{
		ServerName:             "extsync-embedded",
		DontListen:             o.Listen == "",
		JetStream:              true,
		StoreDir:               o.StoreDir,
		JetStreamMaxMemory:     maxMemory,
		JetStreamMaxStore:      o.MaxStore,
		DisableJetStreamBanner: true,
		NoSigs:                 true, // signals belong to the program around us
	}
	if o.StoreDir == "" {
		bad = append(bad, "StoreDir: it is missing")
	}
	switch o.Durability {
	case "", DurableProcess:
	case DurablePower:
		so.SyncAlways = true
	default:
		bad = append(bad, fmt.Sprintf("Durability: %q is neither %q nor %q", o.Durability, DurableProcess, DurablePower))
	}
	switch {
	case o.MaxStore < 0:
		bad = append(bad, fmt.Sprintf("MaxStore: %d is below 0", o.MaxStore))
	case o.MaxStore == 0:
		so.JetStreamMaxStore = DefaultMaxStore
	}
	if o.Listen != "" {
		var err error
		if so.Host, so.Port, err = loopback(o.Listen); err != nil {
			bad = append(bad, "Listen: "+err.Error())
		}
	}
	if len(bad) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrOptions, strings.Join(bad, "; "))
	}
	return so, nil
}

// loopback takes a listen address apart and refuses one that other machines
// could reach.
func loopback(listen string) (host string, port int, err error) {
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not host:port", listen)
	}
	p, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q is outside 0..65535", portText)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if addr, err := netip.ParseAddr(host); err != nil || !addr.Unmap().IsLoopback() {
		return "", 0, fmt.Errorf("%q is not a loopback address; the embedded broker has no authentication, "+
			"so use 127.0.0.1, or run a NATS server of your own for other machines", host)
	}
	if p == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(p), nil
}

// checkPort fails if the port is taken. The server would find out by itself, but
// only after it has read all streams, and in words that name no remedy.
func checkPort(ctx context.Context, so *server.Options) error {
	if so.DontListen || so.Port == server.RANDOM_PORT {
		return nil
	}
	addr := net.JoinHostPort(so.Host, strconv.Itoa(so.Port))
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%w: %w; stop what uses %s or choose another port (0 takes a free one)", ErrStart, err, addr)
	}
	return l.Close()
}
