package connsql_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A proxy stands between a connector and its server, so that a test can cut
// them off from each other without stopping the server.
type proxy struct {
	listener net.Listener
	server   string
	cut      atomic.Bool // connections are closed as they come
	lose     atomic.Bool // the next answer is dropped, with its connection
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newProxy(t testing.TB, server string) *proxy {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: server, conns: make(map[net.Conn]struct{})}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // only ends accept
		p.closeAll()
		p.running.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *proxy) serve(client net.Conn) {
	defer p.forget(client)
	if p.cut.Load() {
		return
	}
	var d net.Dialer
	server, err := d.DialContext(context.Background(), "tcp", p.server)
	if err != nil {
		return
	}
	defer p.forget(server)
	p.remember(client, server)
	if p.cut.Load() { // since it was looked at
		return
	}
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(server, client) // how it ends does not matter
		_ = server.Close()
	})
	p.answers(client, server)
	_ = client.Close()
	up.Wait()
}

// answers copies what the server says until it is to be lost.
func (p *proxy) answers(client, server net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if p.lose.Load() {
			return
		}
		if _, writeErr := client.Write(buf[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

func (p *proxy) remember(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
}

func (p *proxy) forget(c net.Conn) {
	_ = c.Close() // perhaps for the second time
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // its goroutines notice
	}
}

// cutOff breaks all connections and lets no new one through until restore.
func (p *proxy) cutOff(*testing.T) {
	p.cut.Store(true)
	p.closeAll()
}

func (p *proxy) restore(*testing.T) { p.cut.Store(false) }

func (p *proxy) loseAnswer(*testing.T) (restore func()) {
	p.lose.Store(true)
	return func() { p.lose.Store(false) }
}
