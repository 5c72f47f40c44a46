package connamqp

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A session is a connection to the broker. Calls share it; each has a lane of its own, so
// that a message which the broker refuses takes no other call's with it.
type session struct {
	conn    *amqp.Connection
	wire    *wire
	batch   int
	lanes   chan struct{} // holds something for each lane that is in use
	over    chan struct{} // closed when the connection is no more
	blocked atomic.Bool   // the broker takes no messages now

	mu      sync.Mutex
	idle    []*lane
	calls   int
	retired bool // it gets no new calls, and is closed after the last one
	left    bool // a call has left messages behind that a blocked broker did not read
}

// A lane is a channel of AMQP that confirms what it is sent. One call has it at a time.
type lane struct {
	ch      *amqp.Channel
	returns chan amqp.Return // as large as a batch: the library loses what finds no room
	closed  chan *amqp.Error
}

// newSession returns a session that one call has.
func newSession(conn *amqp.Connection, w *wire, lanes, batch int) *session {
	s := &session{conn: conn, wire: w, batch: batch, over: make(chan struct{}), calls: 1}
	s.lanes = make(chan struct{}, min(lanes, int(conn.Config.ChannelMax)))
	blocks := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	go func() {
		defer close(s.over)
		for b := range blocks { // which ends with the connection
			s.blocked.Store(b.Active)
			if !b.Active {
				s.unblocked()
			}
		}
	}()
	return s
}

func (s *session) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return s.conn.IsClosed()
	}
}

// unblocked retires a session on which messages of calls that are over are read now.
func (s *session) unblocked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		s.retire()
	}
}

// retire gives a session no new calls. It is called under the lock.
func (s *session) retire() {
	s.retired = true
	if s.calls == 0 {
		_ = s.wire.Close()
	}
}

// take counts a call, unless the session takes no more.
func (s *session) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired || s.isOver() {
		return false
	}
	s.calls++
	return true
}

// give ends a call. If messages of it were not answered the session is of no use to others:
// the answers may never come.
func (s *session) give(unanswered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls--
	switch {
	case unanswered && s.blocked.Load():
		s.left = true
	case unanswered, s.retired:
		s.retire()
	}
}

// hurry ends the connection if ctx ends before the returned function is called: a step of the
// library's is under way, which does not hear of ctx.
func (s *session) hurry(ctx context.Context) (done func()) {
	stop := context.AfterFunc(ctx, func() { _ = s.wire.Close() })
	return func() { stop() }
}

// lane returns a lane for one call, which ends it.
func (s *session) lane(ctx context.Context) (*lane, error) {
	select {
	case s.lanes <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l := s.spare(); l != nil {
		return l, nil
	}
	defer s.hurry(ctx)()
	l, err := s.newLane()
	if err != nil {
		<-s.lanes
		return nil, s.wire.why(err)
	}
	return l, nil
}

// spare returns a lane that nobody uses, nil if there is none.
func (s *session) spare() *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.idle) > 0 {
		last := len(s.idle) - 1
		l := s.idle[last]
		s.idle = s.idle[:last]
		if !l.ch.IsClosed() {
			return l
		}
	}
	return nil
}

func (s *session) newLane() (*lane, error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	return &lane{
		ch: ch, returns: ch.NotifyReturn(make(chan amqp.Return, s.batch)), closed: ch.NotifyClose(make(chan *amqp.Error, 1)),
	}, nil
}

// end gives a lane back. Only one on which all was answered can be used again.
func (s *session) end(l *lane, answered bool) {
	s.mu.Lock()
	if answered && !l.ch.IsClosed() {
		s.idle = append(s.idle, l)
	}
	s.mu.Unlock()
	<-s.lanes
}

// declare makes a durable quorum queue if it is not there.
func (s *session) declare(queue string) error {
	l, err := s.newLane()
	if err != nil {
		return err
	}
	if _, err := l.ch.QueueDeclare(queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}); err != nil {
		var e *amqp.Error
		if errors.As(err, &e) && e.Code == amqp.PreconditionFailed {
			return &declareError{err}
		}
		return err
	}
	s.idle = append(s.idle, l)
	return nil
}

// A declareError says that a queue is there which is not the one that was asked for.
type declareError struct{ err error }

func (e *declareError) Error() string { return "declare: " + e.err.Error() }
func (e *declareError) Unwrap() error { return e.err }

// A pool keeps a session while there can be one. It is safe for concurrent use.
type pool struct {
	dial func(context.Context) (*session, error)
	turn chan struct{} // whoever makes a session puts something in

	mu      sync.Mutex
	current *session
	closed  bool
}

func newPool(dial func(context.Context) (*session, error)) *pool {
	return &pool{dial: dial, turn: make(chan struct{}, 1)}
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
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = s.wire.Close()
		return nil, net.ErrClosed
	}
	p.current = s
	return s, nil
}

func (p *pool) take() *session {
	p.mu.Lock()
	s := p.current
	p.mu.Unlock()
	if s == nil || !s.take() {
		return nil
	}
	return s
}

// leaveWithin bounds the time that a broker has to say goodbye.
const leaveWithin = time.Second

// close takes leave of the broker, and waits until the connection is no more.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	s := p.current
	p.current = nil
	p.mu.Unlock()
	if s == nil {
		return
	}
	_ = s.conn.CloseDeadline(time.Now().Add(leaveWithin)) // the connection is closed whatever is answered
	_ = s.wire.Close()
	<-s.over
}
