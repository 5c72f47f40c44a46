package sim

import (
	"errors"
	"net"
	"sync"
	"time"
)

// errCut is what a dialer is told while its link is cut.
var errCut = errors.New("sim: the link is cut")

// A Link is the way between one process and the broker, with its faults. Its methods may
// be called concurrently.
type Link struct {
	Name string
	b    *Broker

	seed    uint64
	latency time.Duration // of each way, at most

	mu      sync.Mutex
	held    chan struct{} // closed when the process thaws; nil: it runs
	dead    chan struct{} // closed when the process is gone
	cut     bool
	lossy   float64 // share of answers that are lost
	clients map[*client]struct{}
}

// Link returns a way to the broker that delays each packet by up to latency. Seed, name and
// time decide by how much, and what is lost: not how many packets there were before, so that
// a history in which two goroutines went in another order is much the same afterwards.
func (b *Broker) Link(name string, seed uint64, latency time.Duration) *Link {
	return &Link{Name: name, b: b, seed: Hash(seed, name), latency: latency, dead: make(chan struct{}), clients: map[*client]struct{}{}}
}

// slot is for how long what a Link draws stays the same.
const slot = time.Millisecond

// draw returns a number of at least 0 and below 1.
func (l *Link) draw(what string) float64 {
	return Share(Hash(l.seed+uint64(time.Since(l.b.began)/slot), what)) //nolint:gosec // not negative
}

// InProcessConn connects the process: it makes a Link an nats.InProcessConnProvider.
func (l *Link) InProcessConn() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.gone() {
		return nil, errCut
	}
	near, far := net.Pipe()
	c := newClient(l.b, l, far)
	l.clients[c] = struct{}{}
	c.start()
	return near, nil
}

// Freeze holds everything that goes to or comes from the process until Thaw.
func (l *Link) Freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = make(chan struct{})
	}
}

// Thaw ends Freeze.
func (l *Link) Thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
}

// Kill has the process vanish: whatever it sends from now on, or waits to be sent, is
// never seen by anybody.
func (l *Link) Kill() {
	l.mu.Lock()
	if !l.gone() {
		close(l.dead)
	}
	l.mu.Unlock()
	l.disconnect()
}

// Dead is closed once the process is gone.
func (l *Link) Dead() <-chan struct{} { return l.dead }

// gone reports whether Kill was called. The caller holds mu.
func (l *Link) gone() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

// Cut ends the connections; with stay, there are no others until Mend.
func (l *Link) Cut(stay bool) {
	l.mu.Lock()
	l.cut = stay
	l.mu.Unlock()
	l.disconnect()
}

// Mend ends what Cut, Freeze and Lose began.
func (l *Link) Mend() {
	l.Thaw()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.lossy = false, 0
}

// Lose has a share of the broker's answers, and of the acks for messages, lost.
func (l *Link) Lose(share float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lossy = share
}

// loses reports whether the next message that can be lost is.
func (l *Link) loses() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lossy > 0 && l.draw("loss") < l.lossy
}

func (l *Link) disconnect() {
	l.mu.Lock()
	clients := l.clients
	l.clients = map[*client]struct{}{}
	l.mu.Unlock()
	for c := range clients {
		c.close()
	}
}

func (l *Link) forget(c *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.clients, c)
}

// Pass returns after what a packet takes, and after the process has thawed; false if it is
// gone, or ended is closed.
func (l *Link) Pass(way string, ended <-chan struct{}) bool {
	time.Sleep(1 + time.Duration(l.draw(way)*float64(l.latency)))
	for {
		l.mu.Lock()
		held, gone := l.held, l.gone()
		l.mu.Unlock()
		switch {
		case gone:
			return false
		case held == nil:
			return true
		}
		select {
		case <-held:
		case <-l.dead:
		case <-ended:
			return false
		}
	}
}
