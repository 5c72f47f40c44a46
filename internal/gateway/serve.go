package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

const (
	// queue has each request done by one of several administrators.
	queue = "administrators"
	// maxInHand bounds the requests that are done at once, each of at most the broker's
	// max_payload, as is its answer.
	maxInHand = 32
	// maxTime bounds a request, below what Forward waits for.
	maxTime = 52 * time.Second
	// maxPath and maxValue bound a path with its query, and a header field.
	maxPath  = 8 << 10
	maxValue = 8 << 10
	// acrossImport begins the reply subject of what has crossed an import. Any other is the
	// sender's choice, and the answer would be written there with our rights.
	acrossImport = "_R_."
)

// A Server answers what others forward. Stop must be called.
type Server struct {
	handler http.Handler
	log     zerolog.Logger
	nc      *nats.Conn
	sub     *nats.Subscription
	closed  chan struct{} // no more requests come
	slots   chan struct{}
	inHand  sync.WaitGroup
	ctx     context.Context //nolint:containedctx // of the requests: they have no other
	cancel  context.CancelFunc
}

// Serve has a handler answer what is forwarded to a subject, until Stop. The handler
// finds that the request is Relayed, and must not trust it: a request may claim to be
// anybody's and ask for anything. Its RemoteAddr names the address that the sender has named.
func Serve(nc *nats.Conn, subject string, h http.Handler, log zerolog.Logger) (*Server, error) {
	s := &Server{handler: h, log: log, nc: nc, closed: make(chan struct{}), slots: make(chan struct{}, maxInHand)}
	s.ctx, s.cancel = context.WithCancel(context.WithValue(context.Background(), relayedKey{}, true))
	var err error
	if s.sub, err = nc.QueueSubscribe(subject, queue, s.take); err != nil {
		s.cancel()
		return nil, fmt.Errorf("answer requests to administrators: %w", err)
	}
	s.sub.SetClosedHandler(func(string) { close(s.closed) })
	return s, nil
}

// Stop takes no more requests, and waits for those in hand until ctx ends, which ends
// them.
func (s *Server) Stop(ctx context.Context) error {
	defer s.cancel()
	if err := s.sub.Drain(); err != nil {
		return fmt.Errorf("stop answering requests to administrators: %w", err)
	}
	done := make(chan struct{})
	go func() {
		<-s.closed
		s.inHand.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("requests to administrators were cut off: %w", context.Cause(ctx))
	}
}

func (s *Server) take(msg *nats.Msg) {
	if !strings.HasPrefix(msg.Reply, acrossImport) {
		return
	}
	select {
	case s.slots <- struct{}{}:
	default:
		s.respond(msg, failure(overloaded))
		return
	}
	s.inHand.Go(func() {
		defer func() { <-s.slots }()
		s.respond(msg, s.answer(msg))
	})
}

func (s *Server) respond(to, answer *nats.Msg) {
	err := to.RespondMsg(answer)
	if errors.Is(err, nats.ErrMaxPayload) {
		err = to.RespondMsg(failure(answerTooLarge))
	}
	if err != nil {
		s.log.Warn().Err(err).Msg("the answer to a gateway is lost")
	}
}

func failure(code string) *nats.Msg {
	return &nats.Msg{Header: nats.Header{headerError: {code}}}
}

// answer has the handler answer a request.
func (s *Server) answer(msg *nats.Msg) (answer *nats.Msg) {
	ctx, cancel := context.WithTimeout(s.ctx, maxTime)
	defer cancel()
	r, err := requestOf(ctx, msg)
	if err != nil {
		return failure(malformed)
	}
	defer func() {
		if v := recover(); v != nil {
			s.log.Error().Str("panic", fmt.Sprint(v)).Bytes("stack", debug.Stack()).Msg("relayed request panicked")
			answer = failure(broken)
		}
	}()
	w := &recorder{header: http.Header{}, room: int(s.nc.MaxPayload())}
	s.handler.ServeHTTP(w, r)
	if w.full {
		return failure(answerTooLarge)
	}
	answer = &nats.Msg{Header: nats.Header{}, Data: w.body.Bytes()}
	copyHeader(http.Header(answer.Header), w.header, answerHeaders())
	answer.Header.Set(headerStatus, strconv.Itoa(max(w.status, http.StatusOK)))
	return answer
}

// requestOf makes a request of a message. Its target can only be a path, and what it may
// ask for is the handler's to say.
func requestOf(ctx context.Context, msg *nats.Msg) (*http.Request, error) {
	method, path := msg.Header.Get(headerMethod), msg.Header.Get(headerPath)
	if !strings.HasPrefix(path, "/") || len(path) > maxPath {
		return nil, fmt.Errorf("%w: its target is no path", ErrMalformed)
	}
	u, err := url.ParseRequestURI(path)
	if err != nil || u.Host != "" || u.Scheme != "" || u.User != nil {
		return nil, fmt.Errorf("%w: its target is no path", ErrMalformed)
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete:
	default:
		return nil, fmt.Errorf("%w: its method is none of ours", ErrMalformed)
	}
	r := &http.Request{
		Method: method, URL: u, RequestURI: path, Host: "administrator", RemoteAddr: hearsay(msg.Header.Get(headerFrom)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody,
	}
	copyHeader(r.Header, http.Header(msg.Header), requestHeaders())
	for _, values := range r.Header {
		if len(values[0]) > maxValue || strings.ContainsFunc(values[0], func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return nil, fmt.Errorf("%w: a header is too long, or has control characters", ErrMalformed)
		}
	}
	if len(msg.Data) > 0 {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(msg.Data)), int64(len(msg.Data))
	}
	return r.WithContext(ctx), nil
}

// hearsay is what the log and the audit log say of an address that a gateway has named.
func hearsay(address string) string {
	from, err := netip.ParseAddrPort(address)
	if err != nil {
		return "a gateway, which names no address"
	}
	return "a gateway, which names " + from.String()
}

// recorder keeps an answer, as far as there is room.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	room   int
	full   bool
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.body.Len()+len(p) > w.room {
		w.full = true
		w.body.Reset()
		w.room = 0
		return len(p), nil
	}
	return w.body.Write(p)
}
