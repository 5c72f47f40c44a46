package connfile

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pkg/sftp"
)

const (
	// share is how many calls a connection has before another one is made.
	share = 4
	// idleFor is how long a connection is kept that nobody uses.
	idleFor = time.Minute
)

// A session is a connection to a server with SFTP started on it. Calls share it.
type session struct {
	conn  net.Conn
	files *sftp.Client
	meter *meter
	over  chan struct{} // closed when the connection is no more

	// under the pool's lock
	calls   int
	retired bool // it gets no new calls, and is closed after the last one
	idle    *time.Timer
}

func (s *session) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// A pool keeps sessions with one server, most at most. It is safe for concurrent use.
type pool struct {
	dial func(context.Context) (*session, error)
	most int
	turn chan struct{} // whoever makes a session puts something in

	mu      sync.Mutex
	open    []*session
	refused time.Time // when the server wanted no more of them
	closed  bool
}

func newPool(dial func(context.Context) (*session, error), most int) *pool {
	return &pool{dial: dial, most: most, turn: make(chan struct{}, 1)}
}

// get returns a session for one call, which gives it back.
func (p *pool) get(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s := p.take(); s != nil {
		return s, nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s := p.take(); s != nil { // of whoever had the turn before
		return s, nil
	}
	s, err := p.dial(ctx)
	if err != nil {
		if s := p.least(); s != nil {
			return s, nil
		}
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = s.conn.Close()
		return nil, net.ErrClosed
	}
	s.calls = 1
	p.open = append(p.open, s)
	return s, nil
}

// take returns the session with the fewest calls, nil if another one should be made.
func (p *pool) take() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.fewest()
	if s == nil || s.calls >= share && len(p.open) < p.most && time.Since(p.refused) > idleFor {
		return nil
	}
	s.use()
	return s
}

// least returns the session with the fewest calls where no other one could be made, nil if
// there is none. No other one is tried for a while.
func (p *pool) least() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.fewest()
	if s != nil {
		p.refused = time.Now()
		s.use()
	}
	return s
}

func (s *session) use() {
	s.calls++
	if s.idle != nil {
		s.idle.Stop()
		s.idle = nil
	}
}

func (p *pool) fewest() (best *session) {
	left := p.open[:0]
	for _, s := range p.open {
		if s.isOver() || s.retired {
			continue
		}
		left = append(left, s)
		if best == nil || s.calls < best.calls {
			best = s
		}
	}
	clear(p.open[len(left):])
	p.open = left
	return best
}

// put gives a session back.
func (p *pool) put(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.calls--; s.calls > 0 {
		return
	}
	if s.retired || p.closed {
		_ = s.conn.Close()
		return
	}
	s.idle = time.AfterFunc(idleFor, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if s.calls == 0 {
			s.retired = true
			_ = s.conn.Close()
		}
	})
}

// retire gives a session no new calls.
func (p *pool) retire(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.retired = true
}

// close ends all sessions and waits until they are no more.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	open := p.open
	p.open = nil
	for _, s := range open {
		if s.idle != nil {
			s.idle.Stop()
		}
		_ = s.conn.Close()
	}
	p.mu.Unlock()
	for _, s := range open {
		<-s.over
	}
}

// errLost says that a connection ended before the answer.
var errLost = errors.New("the connection ended before the answer")

// do makes one step of a call, which the library does not bound. If ctx ends before it is
// over nobody waits for it, and the connection, on which the other side may never answer
// it, gets no new calls.
func do[T any](ctx context.Context, p *pool, s *session, step func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	if err := ctx.Err(); err != nil {
		return *new(T), err
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := step()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil && (s.isOver() || errors.Is(a.err, sftp.ErrSSHFxConnectionLost)) {
			a.err = errors.Join(errLost, a.err)
		}
		return a.value, a.err
	case <-ctx.Done():
		p.retire(s)
		return *new(T), ctx.Err()
	}
}
