package connredis

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// calls are those under way. The library bounds a connection's reads and writes by the
// deadline of the call that uses it, and does not hear that the call was cancelled. So each
// call has a deadline of its own, by which a connection knows its call; it is made by it,
// and ends with it. It is safe for concurrent use.
type calls struct {
	timeout time.Duration // of what has no deadline
	ended   context.Context
	close   func()

	mu   sync.Mutex
	open map[int64]*call // by deadline, in nanoseconds since 1970
}

// A call is one of the connector's methods under way.
type call struct {
	ctx   context.Context //nolint:containedctx // connections are made by the call that needs them
	conns map[*conn]struct{}
}

func newCalls(timeout time.Duration) *calls {
	c := &calls{timeout: timeout, open: map[int64]*call{}}
	c.ended, c.close = context.WithCancel(context.Background())
	return c
}

// begin returns the context of a call, and what ends the call.
func (c *calls) begin(parent context.Context) (ctx context.Context, end func()) {
	by, ok := parent.Deadline()
	if latest := time.Now().Add(c.timeout); !ok || by.After(latest) {
		by = latest
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.open[by.UnixNano()] != nil {
		by = by.Add(-1)
	}
	ctx, cancel := context.WithDeadline(parent, by)
	this := &call{ctx: ctx, conns: map[*conn]struct{}{}}
	c.open[by.UnixNano()] = this
	stop := context.AfterFunc(ctx, func() { c.abort(this) })
	return ctx, func() {
		stop()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.open, by.UnixNano())
		clear(this.conns)
		cancel()
	}
}

// abort ends what a call waits for at its connections.
func (c *calls) abort(ended *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range ended.conns {
		if conn.call == ended && conn.real != nil {
			_ = conn.real.SetDeadline(longAgo()) // if it fails, the connection is closed
		}
	}
}

// longAgo is a deadline that has passed.
func longAgo() time.Time { return time.Unix(1, 0) }

// conn returns a connection that is made when it is first written to, by the call that
// does so: what the library makes by itself knows of no call, and what fails there it tries
// again, for everybody.
func (c *calls) conn(dialer *connectors.Dialer, secured *tls.Config, network, addr string) net.Conn {
	dial := func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, network, addr) }
	if secured == nil {
		return &plainConn{conn{calls: c, dial: dial}}
	}
	return &conn{calls: c, dial: func(ctx context.Context) (net.Conn, error) {
		plain, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		cfg := secured.Clone()
		if host, _, err := net.SplitHostPort(addr); cfg.ServerName == "" && err == nil {
			cfg.ServerName = host
		}
		over := tls.Client(plain, cfg)
		if err := over.HandshakeContext(ctx); err != nil {
			_ = plain.Close() // nothing was sent
			return nil, err
		}
		return over, nil
	}}
}

// A conn is used by one call at a time. Its fields are guarded by calls.mu.
type conn struct {
	calls *calls
	dial  func(context.Context) (net.Conn, error)

	real   net.Conn // nil: not made yet
	closed bool
	call   *call // nil: one that the library makes by itself
	by     time.Time
}

var _ net.Conn = (*conn)(nil)

// SetDeadline takes the connection for the call with this deadline.
func (c *conn) SetDeadline(by time.Time) error { return c.use(by, net.Conn.SetDeadline) }

// SetReadDeadline does so, too.
func (c *conn) SetReadDeadline(by time.Time) error { return c.use(by, net.Conn.SetReadDeadline) }

// SetWriteDeadline does so, too.
func (c *conn) SetWriteDeadline(by time.Time) error { return c.use(by, net.Conn.SetWriteDeadline) }

func (c *conn) use(by time.Time, set func(net.Conn, time.Time) error) error {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	c.by, c.call = by, nil
	if !by.IsZero() {
		c.call = c.calls.open[by.UnixNano()]
	}
	if c.call != nil {
		c.call.conns[c] = struct{}{}
		if c.call.ctx.Err() != nil {
			by = longAgo()
		}
	}
	if c.real == nil {
		return nil
	}
	return set(c.real, by)
}

// Write makes the connection if it is not there, and writes.
func (c *conn) Write(b []byte) (int, error) {
	real, err := c.ready()
	if err != nil {
		return 0, err
	}
	return real.Write(b)
}

// Read reads.
func (c *conn) Read(b []byte) (int, error) {
	real, err := c.ready()
	if err != nil {
		return 0, err
	}
	return real.Read(b)
}

func (c *conn) ready() (net.Conn, error) {
	c.calls.mu.Lock()
	real, closed, this, by := c.real, c.closed, c.call, c.by
	c.calls.mu.Unlock()
	switch {
	case closed:
		return nil, net.ErrClosed
	case real != nil:
		return real, nil
	}
	ctx := c.calls.ended
	if this != nil {
		ctx = this.ctx
	}
	if by.IsZero() {
		by = time.Now().Add(c.calls.timeout)
	}
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	defer context.AfterFunc(c.calls.ended, cancel)()
	real, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	return c.made(real)
}

// made takes a connection that was made, unless nobody wants it any more.
func (c *conn) made(real net.Conn) (net.Conn, error) {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	var err error
	switch {
	case c.closed:
		err = net.ErrClosed
	case c.call != nil && c.call.ctx.Err() != nil:
		err = os.ErrDeadlineExceeded
	default:
		err = real.SetDeadline(c.by)
	}
	if err != nil {
		_ = real.Close() // nothing was sent
		return nil, err
	}
	c.real = real
	return real, nil
}

// Close closes the connection, if it was made.
func (c *conn) Close() error {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	c.closed = true
	if c.real == nil {
		return nil
	}
	return c.real.Close()
}

// LocalAddr returns the address of this end.
func (c *conn) LocalAddr() net.Addr { return c.addr(net.Conn.LocalAddr) }

// RemoteAddr returns that of the other end.
func (c *conn) RemoteAddr() net.Addr { return c.addr(net.Conn.RemoteAddr) }

func (c *conn) addr(of func(net.Conn) net.Addr) net.Addr {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	if c.real == nil {
		return &net.TCPAddr{}
	}
	return of(c.real)
}

// A plainConn lets the library see whether the other side has closed it, before it is used
// again.
type plainConn struct{ conn }

// SyscallConn returns the socket.
func (c *plainConn) SyscallConn() (syscall.RawConn, error) {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	if s, ok := c.real.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, net.ErrClosed
}
