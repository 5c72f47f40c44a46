package connnats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connproto"
)

// A service asks a NATS service with the documents of plugins. It is safe for concurrent
// use.
type service struct {
	*connproto.Connector
	link    *link
	subject string
	name    string // of the connector, in requests
	last    atomic.Uint64

	greeting  chan struct{} // holds one element while hello is asked
	mu        sync.Mutex
	greeted   *session // the connection over which hello was answered last
	admission *connproto.Admission
}

var (
	_ connectors.Connector = (*service)(nil)
	_ connectors.Batcher   = (*service)(nil)
	_ connectors.Prober    = (*service)(nil)
	_ connectors.Reader    = (*service)(nil)
	_ connectors.Lister    = (*service)(nil)
	_ connproto.Link       = (*way)(nil)
)

func newService(cfg Config, env connectors.Env, l *link) *service {
	s := &service{
		Connector: connproto.New(env, cfg.Capabilities, cfg.MaxBatch), link: l, subject: cfg.Subject, name: connproto.NewSession(),
		greeting: make(chan struct{}, 1),
	}
	if env.Previews() {
		s.Use(connproto.Nowhere{})
	} else {
		s.Use((*way)(s))
	}
	return s
}

// Apply has the service make the attempts, in as many requests as messages need that may
// not be larger.
func (s *service) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	results := s.Connector.Apply(ctx, attempts)
	if len(attempts) < 2 || results[0].Code != codeMaxPayload {
		return results
	}
	half := len(attempts) / 2
	return append(s.Apply(ctx, attempts[:half]), s.Apply(ctx, attempts[half:])...)
}

// A way is the service as a link.
type way service

// Call makes one request.
func (w *way) Call(ctx context.Context, method string, params any, keys []string) (*connproto.Answer, error) {
	ctx, end := w.link.begin(ctx)
	defer end()
	s, err := w.link.get(ctx)
	if err != nil {
		return nil, explain(ctx, err)
	}
	admission, err := w.greet(ctx, s)
	if err != nil {
		return nil, err
	}
	if _, err := admission.Enter(ctx, nil, keys); err != nil {
		return nil, err
	}
	defer admission.Leave(keys)
	return w.ask(ctx, s, method, params)
}

// greet says hello once over each connection.
func (w *way) greet(ctx context.Context, s *session) (*connproto.Admission, error) {
	select {
	case w.greeting <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-w.greeting }()
	w.mu.Lock()
	greeted, admission := w.greeted, w.admission
	w.mu.Unlock()
	if greeted == s {
		return admission, nil
	}
	concurrency, err := w.Greet(ctx, func(ctx context.Context, method string, params any) (*connproto.Answer, error) {
		return w.ask(ctx, s, method, params)
	})
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.greeted, w.admission = s, connproto.NewAdmission(concurrency)
	return w.admission, nil
}

// Headers with which the services framework of NATS says that a request failed.
const (
	headerServiceCode  = "Nats-Service-Error-Code"
	headerServiceError = "Nats-Service-Error"
)

func (w *way) ask(ctx context.Context, s *session, method string, params any) (*connproto.Answer, error) {
	return w.Exchange(ctx, w.last.Add(1), w.name, method, params, func(ctx context.Context, request []byte) ([]byte, error) {
		if int64(len(request)) > s.nc.MaxPayload() {
			return nil, &connectors.Error{Class: connectors.Permanent, Code: codeMaxPayload, Err: errors.New("the request is larger than the server takes")}
		}
		m, err := s.request(ctx, w.subject, request)
		if err != nil {
			return nil, explain(ctx, err)
		}
		if code := m.Header.Get(headerServiceCode); code != "" {
			text := w.Env().Scrubber().Excerpt([]byte(m.Header.Get(headerServiceError)), 200, false)
			return nil, &connectors.Error{Code: "service", Err: fmt.Errorf("the service failed with %.20q: %q", code, text)}
		}
		return m.Data, nil
	})
}

// Ready says hello.
func (w *way) Ready(ctx context.Context) error {
	ctx, end := w.link.begin(ctx)
	defer end()
	s, err := w.link.get(ctx)
	if err != nil {
		return explain(ctx, err)
	}
	_, err = w.greet(ctx, s)
	return err
}

// Close ends the connection. The service goes on.
func (w *way) Close(ctx context.Context) error {
	w.link.close(ctx)
	return nil
}
