package extsync

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/nats-io/nats.go"
)

// errDial marks an address that could not be reached.
var errDial = errors.New("not reachable")

// firstDial opens the sockets of a connection. Until end is called they live
// under the context of Connect, handshake included, which the client itself
// knows nothing of; and the reasons of failures are kept, which the client
// replaces by "no servers available".
type firstDial struct {
	mu     sync.Mutex
	ctx    context.Context // nil once the first connection was made or given up
	stops  []func() bool
	failed []error
}

// Dial opens a socket. It implements nats.CustomDialer.
func (d *firstDial) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	ctx := d.ctx
	d.mu.Unlock()
	dialer := net.Dialer{Timeout: connectTimeout}
	if ctx == nil {
		return dialer.Dial(network, address)
	}
	conn, err := dialer.DialContext(ctx, network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("%w: %w", errDial, err)
		d.failed = append(d.failed, err)
		return nil, err
	}
	// The handshake reads from the socket: closing it is what ends the wait.
	d.stops = append(d.stops, context.AfterFunc(ctx, func() { _ = conn.Close() }))
	return conn, nil
}

// end cuts the sockets loose from the context.
func (d *firstDial) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx = nil
	for _, stop := range d.stops {
		stop()
	}
	d.stops = nil
}

// reason returns err, or what is behind it if the client says only that there
// are no servers.
func (d *firstDial) reason(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(err, nats.ErrNoServers) && len(d.failed) > 0 {
		joined := d.failed[0]
		for _, next := range d.failed[1:] {
			joined = fmt.Errorf("%w; %w", joined, next)
		}
		return joined
	}
	return err
}
