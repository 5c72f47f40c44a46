package connplugin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connproto"
)

// A session is the conversation with one process: requests go out in turn, answers come
// in any order. It is over with the first thing that goes wrong.
type session struct {
	id        string
	stdin     io.Writer
	killAfter time.Duration
	admission *connproto.Admission
	out       chan *request
	ended     chan struct{} // closed once err is set
	deaf      chan struct{} // closed when nothing more can be sent

	mu   sync.Mutex
	err  error
	last uint64
	open map[uint64]*request
}

// A request waits for its answer, also after its caller has gone.
type request struct {
	ctx      context.Context //nolint:containedctx // the writer looks whether there is still time
	id       uint64
	method   string
	params   []byte
	keys     []string
	answered chan *connproto.Answer
	overdue  *time.Timer // nil: its caller still waits
}

// errEnded says that a plugin ended by itself.
var errEnded = errors.New("the plugin ended before it answered")

func newSession(stdin io.Writer, killAfter time.Duration) *session {
	return &session{
		id: connproto.NewSession(), stdin: stdin, killAfter: killAfter, admission: connproto.NewAdmission(1),
		out: make(chan *request), ended: make(chan struct{}), deaf: make(chan struct{}), open: map[uint64]*request{},
	}
}

// end ends the session. The first reason counts.
func (s *session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	close(s.ended)
	for _, r := range s.open {
		if r.overdue != nil {
			r.overdue.Stop()
		}
	}
}

// why returns why the session is over.
func (s *session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// broke returns the error of a call that the end of the session has cut off.
func (s *session) broke() error {
	err := s.why()
	var e *connectors.Error
	if errors.As(err, &e) {
		return err
	}
	return &connectors.Error{Code: "crashed", Err: err}
}

// errNotSent is the error of a call that the plugin has heard nothing of.
func errNotSent() error {
	return &connectors.Error{Code: connectors.CodeRefused, Err: errors.New("the plugin has just ended")}
}

func (s *session) call(ctx context.Context, method string, params any, keys []string) (*connproto.Answer, error) {
	encoded, err := connproto.EncodeParams(params)
	if err != nil {
		return nil, err
	}
	entered, err := s.admission.Enter(ctx, s.ended, keys)
	if err != nil {
		return nil, err
	}
	if !entered {
		return nil, errNotSent()
	}
	r := s.register(ctx, method, encoded, keys)
	select {
	case s.out <- r:
	case <-ctx.Done():
		s.forget(r.id)
		return nil, ctx.Err()
	case <-s.ended:
		return nil, errNotSent()
	}
	select {
	case a := <-r.answered:
		return a, nil
	case <-ctx.Done():
	case <-s.ended:
	}
	select {
	case a := <-r.answered:
		return a, nil
	default:
	}
	if ctx.Err() == nil {
		return nil, s.broke()
	}
	s.abandon(r)
	return nil, ctx.Err()
}

func (s *session) register(ctx context.Context, method string, params []byte, keys []string) *request {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	r := &request{ctx: ctx, id: s.last, method: method, params: params, keys: keys, answered: make(chan *connproto.Answer, 1)}
	s.open[r.id] = r
	return r
}

// forget closes a request and makes room for another. It returns nil if it was not open.
func (s *session) forget(id uint64) *request {
	s.mu.Lock()
	r := s.open[id]
	delete(s.open, id)
	if r != nil && r.overdue != nil {
		r.overdue.Stop()
	}
	s.mu.Unlock()
	if r != nil {
		s.admission.Leave(r.keys)
	}
	return r
}

// abandon leaves a request to the plugin, for a while.
func (s *session) abandon(r *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[r.id] != r || s.err != nil {
		return
	}
	r.overdue = time.AfterFunc(s.killAfter, func() {
		s.end(&connectors.Error{Code: "timeout", Err: errors.New("the plugin did not answer, long after the call's time was over")})
	})
}

// write sends requests until the session is over, or the plugin reads no more. A request whose time is over is not
// sent.
func (s *session) write() {
	var line []byte
	for {
		select {
		case <-s.ended:
			return
		case r := <-s.out:
			if r.ctx.Err() != nil {
				s.forget(r.id)
				continue
			}
			line = append(connproto.AppendRequest(line[:0], r.id, s.id, r.method, connectors.BeginBy(r.ctx), r.params), '\n')
			if _, err := s.stdin.Write(line); err != nil {
				close(s.deaf) // there may be answers to what it has read
				return
			}
			if cap(line) > connproto.MaxAnswer {
				line = nil
			}
		}
	}
}

// read takes answers until the plugin's output ends.
func (s *session) read(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(make([]byte, 0, 64<<10), connproto.MaxAnswer)
	lines.Split(wholeLines)
	for lines.Scan() {
		a, err := connproto.ParseAnswer(lines.Bytes())
		if err != nil {
			s.end(err)
			return
		}
		r := s.forget(a.ID)
		if r == nil {
			s.end(connproto.Violation("it answers request %d, which is not open", a.ID))
			return
		}
		r.answered <- a
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		s.end(connproto.Violation("an answer is longer than %d bytes", connproto.MaxAnswer))
		return
	}
	s.end(errEnded)
}

// wholeLines are lines with an end: what a plugin has not written to its end is no answer.
func wholeLines(data []byte, _ bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	return 0, nil, nil
}
