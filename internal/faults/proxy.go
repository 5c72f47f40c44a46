package faults

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

// A Proxy stands between a client and a server and is the network that a test
// can cut, freeze and slow down. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	server   string
	ctx      context.Context //nolint:containedctx // the life of the proxy
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	cut   bool
	lose  func(answer []byte) bool
	delay time.Duration
	// frozen directions hold what they have; closed when it may go on.
	toServer, toClient chan struct{}
}

// NewProxy starts a proxy to the server at host:port. It ends with the test.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Proxy{listener: l, server: server, ctx: ctx, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		stop()
		_ = l.Close() // it only listens
		p.Cut()
		p.wg.Wait()
	})
	return p
}

// Addr is where clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut ends all connections and refuses new ones until Heal.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		_ = c.Close() // that is the point
	}
}

// Freeze lets nothing through until Heal, while all connections look alive.
func (p *Proxy) Freeze() {
	p.FreezeAnswers()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.toServer == nil {
		p.toServer = make(chan struct{})
	}
}

// FreezeAnswers lets nothing through to the client until Heal; what the client
// sends arrives.
func (p *Proxy) FreezeAnswers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.toClient == nil {
		p.toClient = make(chan struct{})
	}
}

// LoseAnswers ends a connection in place of letting such an answer through, until Heal; nil:
// any answer. What the client sends arrives.
func (p *Proxy) LoseAnswers(such func(answer []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lose = such; such == nil {
		p.lose = func([]byte) bool { return true }
	}
}

// Slow delays everything by d in each direction, until Heal.
func (p *Proxy) Slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Heal makes the network work again.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.lose, p.delay = false, nil, 0
	for _, frozen := range []*chan struct{}{&p.toServer, &p.toClient} {
		if *frozen != nil {
			close(*frozen)
			*frozen = nil
		}
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }() // whatever became of it
	if !p.keep(client) {
		return
	}
	defer p.forget(client)
	server, err := new(net.Dialer).DialContext(p.ctx, "tcp", p.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }() // whatever became of it
	if !p.keep(server) {
		return
	}
	defer p.forget(server)
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(server, client, &p.toServer) })
	wg.Go(func() { p.copy(client, server, &p.toClient) })
	wg.Wait()
}

// copy moves bytes one way until either side ends, then ends both.
func (p *Proxy) copy(to, from net.Conn, frozen *chan struct{}) {
	defer func() { _, _ = to.Close(), from.Close() }() // one end is the end of both
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if p.pass(frozen, buf[:n]) != nil {
				return
			}
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits until bytes may go on.
func (p *Proxy) pass(frozen *chan struct{}, data []byte) error {
	p.mu.Lock()
	wait, delay, lose := *frozen, p.delay, p.lose
	p.mu.Unlock()
	if lose != nil && frozen == &p.toClient && lose(data) {
		return errors.New("the answer is lost")
	}
	if wait == nil && delay == 0 {
		return nil
	}
	var late <-chan time.Time
	if wait == nil {
		late = time.After(delay)
	}
	select {
	case <-wait:
		return nil
	case <-late:
		return nil
	case <-p.ctx.Done():
		return errors.New("the proxy has ended")
	}
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
	return !p.cut
}

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}
