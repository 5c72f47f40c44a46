package connnats

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

const (
	// A server that answers no ping for so long is not there any more.
	pingInterval = 20 * time.Second
	mostPings    = 2
)

// A link makes connections when calls need them. The library makes none by itself: what it
// has not sent yet it would send once it is connected again, long after the call has ended.
// It is safe for concurrent use.
type link struct {
	cfg     Config
	timeout time.Duration
	servers string
	dialer  *connectors.Dialer
	options []nats.Option

	opening chan struct{} // holds one element while a connection is being made
	mu      sync.Mutex
	session *session // nil: there is none yet
}

func newLink(cfg Config, env connectors.Env) (*link, error) {
	s := connkit.NewSecrets(env)
	l := &link{cfg: cfg, timeout: connkit.TimeoutOf(env), opening: make(chan struct{}, 1)}
	secured, err := cfg.TLS.Config(s)
	login := cfg.login(s)
	if err := s.Err(); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	if l.dialer, err = env.Dialer(cfg.AllowCIDRs); err != nil {
		return nil, err
	}
	var urls []string
	overTLS := cfg.TLS != (connkit.TLS{})
	for _, server := range cfg.Servers {
		u, err := parseServer(server)
		if err != nil {
			return nil, connkit.Misconfigured("config", err)
		}
		overTLS = overTLS || u.Scheme == "tls"
		urls = append(urls, u.String())
	}
	l.servers = strings.Join(urls, ",")
	l.options = []nats.Option{
		nats.Name("extsync " + env.Channel), nats.NoReconnect(), nats.ReconnectBufSize(-1), nats.SkipHostLookup(), nats.IgnoreDiscoveredServers(),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(mostPings), nats.NoCallbacksAfterClientClose(),
	}
	if overTLS {
		l.options = append(l.options, nats.Secure(secured))
	}
	if cfg.InboxPrefix != "" {
		l.options = append(l.options, nats.CustomInboxPrefix(cfg.InboxPrefix))
	}
	if !env.Previews() {
		l.options = append(l.options, login)
	}
	return l, nil
}

// begin returns the context of a call, which has an end. The call does not go on after it,
// also where the connection cannot be written to.
func (l *link) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := connkit.Bounded(ctx, l.timeout)
	stop := context.AfterFunc(ctx, l.release)
	return ctx, func() {
		stop()
		cancel()
	}
}

// release ends a write that blocks.
func (l *link) release() {
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	if s != nil {
		s.socket.release()
	}
}

// get returns a connection that works, as far as anybody knows.
func (l *link) get(ctx context.Context) (*session, error) {
	select {
	case l.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.opening }()
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	if s != nil && !s.socket.broken.Load() && s.nc.IsConnected() {
		return s, nil
	}
	if s != nil {
		s.nc.Close()
	}
	s, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
	return s, nil
}

// connect makes a connection within the time of a call.
func (l *link) connect(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	by, _ := ctx.Deadline()
	d := &dialing{ctx: ctx, dialer: l.dialer, left: len(l.cfg.Servers)}
	defer d.end()
	s := &session{inbox: nats.InboxPrefix, waiting: map[*waiting]struct{}{}}
	if l.cfg.InboxPrefix != "" {
		s.inbox = l.cfg.InboxPrefix + "."
	}
	var err error
	s.nc, err = nats.Connect(l.servers, append(l.options, nats.Timeout(max(time.Until(by), time.Millisecond)), nats.SetCustomDialer(d), nats.ErrorHandler(s.hear))...)
	if err != nil {
		return nil, d.reason(err)
	}
	s.socket = d.socket
	if l.cfg.Domain != "" {
		s.js, err = jetstream.NewWithDomain(s.nc, l.cfg.Domain)
	} else {
		s.js, err = jetstream.New(s.nc)
	}
	if err != nil {
		s.nc.Close()
		return nil, err
	}
	return s, nil
}

// close ends the connection, and what waits for it.
func (l *link) close(ctx context.Context) {
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	if s == nil {
		return
	}
	_, end := l.begin(ctx)
	defer end()
	s.nc.Close() // it writes what is left to be written
}

// A session is one connection. It is safe for concurrent use.
type session struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	inbox  string
	socket *socket

	mu      sync.Mutex
	stream  jetstream.Stream // nil: not looked up yet
	waiting map[*waiting]struct{}
}

// waiting is a request that waits for its answer.
type waiting struct {
	subject string
	end     context.CancelCauseFunc
}

// errRefused says that the user may not do what a request needs.
var errRefused = errors.New("the user may not publish to a subject, or not listen to its answers")

// do makes a request to a subject. A server that does not let the user do so says it by the
// way, and gives no answer: then the error is errRefused.
func (s *session) do(ctx context.Context, subject string, request func(context.Context) error) error {
	ctx, end := context.WithCancelCause(ctx)
	w := &waiting{subject, end}
	s.mu.Lock()
	s.waiting[w] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, w)
		s.mu.Unlock()
		end(nil)
	}()
	err := request(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errRefused) {
		return errRefused
	}
	return err
}

// refusedSubject finds the subject in a refusal. The library has no other form for it than
// the server's text: Permissions Violation for Publish to "subject".
var refusedSubject = regexp.MustCompile(`for (?:Publish|Subscription) to "([^"]+)"`)

// hear ends the requests that a refusal is about: those to its subject, or all if answers
// cannot come, or it is one of the API.
func (s *session) hear(_ *nats.Conn, _ *nats.Subscription, err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	subject := ""
	if m := refusedSubject.FindStringSubmatch(err.Error()); m != nil {
		subject = m[1]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.waiting {
		if subject == w.subject || subject == "" || strings.HasPrefix(subject, s.inbox) || strings.HasPrefix(subject, "$JS.") {
			w.end(errRefused)
		}
	}
}

// request makes a request to a subject and returns its answer.
func (s *session) request(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	var answer *nats.Msg
	err := s.do(ctx, subject, func(ctx context.Context) (err error) {
		answer, err = s.nc.RequestWithContext(ctx, subject, data)
		return err
	})
	return answer, err
}
