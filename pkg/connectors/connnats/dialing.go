package connnats

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// dialing is a connection in the making. It ends with the call that needs it, which the
// library knows nothing of, and remembers why servers could not be reached, for which the
// library has one error.
type dialing struct {
	ctx    context.Context //nolint:containedctx // see above
	dialer *connectors.Dialer
	left   int // servers that were not tried yet
	socket *socket
	failed error
	stops  []func()
}

// Dial is that of nats.CustomDialer. A server that does not answer leaves as much time to
// each of the others as it had.
func (d *dialing) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := d.share()
	d.stops = append(d.stops, cancel)
	conn, err := d.dialer.DialContext(ctx, network, address)
	if err != nil {
		d.failed = err
		return nil, err
	}
	d.socket = &socket{Conn: conn, writing: make(chan struct{}, 1)}
	// The handshake reads from the socket: closing it is what ends the wait.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	d.stops[len(d.stops)-1] = func() { stop(); cancel() }
	return d.socket, nil
}

// share returns the context of the next server.
func (d *dialing) share() (context.Context, context.CancelFunc) {
	by, ok := d.ctx.Deadline()
	left := max(1, d.left)
	d.left--
	if !ok || left == 1 {
		return context.WithCancel(d.ctx)
	}
	return context.WithTimeout(d.ctx, time.Until(by)/time.Duration(left))
}

// end cuts the sockets loose from the call.
func (d *dialing) end() {
	for _, stop := range d.stops {
		stop()
	}
}

// reason returns what is behind an error of nats.Connect.
func (d *dialing) reason(err error) error {
	if d.failed != nil && (errors.Is(err, nats.ErrNoServers) || errors.Is(err, d.failed)) {
		return d.failed
	}
	return err
}

// patience is how long a write may go on at the end of a call, whose own it need not be.
const patience = 50 * time.Millisecond

// A socket is the one below a connection. While a write blocks, the library holds the lock
// that all of its calls need, whatever their contexts say.
type socket struct {
	net.Conn
	writing chan struct{} // holds one element during a write
	broken  atomic.Bool   // it was closed in the middle of a write
}

// Write writes.
func (s *socket) Write(b []byte) (int, error) {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	return s.Conn.Write(b)
}

// release closes the socket if a write blocks. What is behind it would be cut off.
func (s *socket) release() {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case s.writing <- struct{}{}:
		<-s.writing
	case <-timer.C:
		s.broken.Store(true)
		_ = s.Close() // the write has an error then
	}
}
