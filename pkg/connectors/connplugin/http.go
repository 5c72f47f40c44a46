package connplugin

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connproto"
)

const (
	connectTime = 10 * time.Second
	idleTime    = 90 * time.Second
	// codeNotOpen is how a plugin says that it does not know the session: it has been
	// started anew.
	codeNotOpen = "not_open"
)

// A poster speaks to a plugin by HTTP: one POST for each request, with the answer in the
// body of the response.
type poster struct {
	c       *connector
	client  *http.Client
	at      *url.URL
	headers http.Header
	last    atomic.Uint64

	opening   chan struct{} // holds one element while a session is being opened
	mu        sync.Mutex
	session   string // "": none is open
	admission *connproto.Admission
}

func newHTTP(c *connector, s *connkit.Secrets) (*poster, error) {
	p := &poster{c: c, headers: http.Header{}, opening: make(chan struct{}, 1)}
	p.headers.Set("User-Agent", "extsync")
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Headers)) {
		p.headers.Set(name, s.Text("headers."+name, c.cfg.Headers[name]))
	}
	secured, err := c.cfg.TLS.Config(s)
	if err := s.Err(); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	for name := range p.headers {
		if strings.ContainsAny(p.headers.Get(name), "\r\n\x00") {
			return nil, connkit.Misconfigured("config", fmt.Errorf("headers.%s: its resolved value has a line break", name))
		}
	}
	at, socket, err := parseURL(c.cfg.URL)
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	dialer, err := c.Env().Dialer(c.cfg.AllowCIDRs)
	if err != nil {
		return nil, err
	}
	dialer.Timeout = connectTime
	p.at, p.client = at, newClient(dialer, socket, secured, max(1, c.Env().Concurrency))
	return p, nil
}

// newClient returns a client that connects only where the dialer does, and only to the
// plugin: it follows no redirect.
func newClient(dialer *connectors.Dialer, socket string, secured *tls.Config, conns int) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: secured, TLSHandshakeTimeout: connectTime, IdleConnTimeout: idleTime,
			MaxIdleConns: conns, MaxIdleConnsPerHost: conns, DisableCompression: true, ForceAttemptHTTP2: true,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if socket != "" {
					network, address = "unix", socket
				}
				return dialer.DialContext(ctx, network, address)
			},
		},
	}
}

func (p *poster) Call(ctx context.Context, method string, params any, keys []string) (*connproto.Answer, error) {
	for again := false; ; again = true {
		session, admission, err := p.open(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := admission.Enter(ctx, nil, keys); err != nil {
			return nil, err
		}
		a, err := p.post(ctx, session, method, params)
		admission.Leave(keys)
		var e *connectors.Error
		if !errors.As(err, &e) || e.Code != codeNotOpen {
			return a, err
		}
		p.lost(session)
		if again {
			return nil, connproto.Violation("it does not know a session that it has just opened")
		}
	}
}

// open returns the session, a new one if there is none.
func (p *poster) open(ctx context.Context) (string, *connproto.Admission, error) {
	select {
	case p.opening <- struct{}{}:
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
	defer func() { <-p.opening }()
	p.mu.Lock()
	session, open := p.session, p.admission
	p.mu.Unlock()
	if session != "" {
		return session, open, nil
	}
	session = connproto.NewSession()
	concurrency, err := p.c.shake(ctx, func(ctx context.Context, method string, params any) (*connproto.Answer, error) {
		return p.post(ctx, session, method, params)
	})
	if err != nil {
		return "", nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session, p.admission = session, connproto.NewAdmission(concurrency)
	return session, p.admission, nil
}

func (p *poster) Ready(ctx context.Context) error {
	_, _, err := p.open(ctx)
	return err
}

// lost forgets a session that the plugin does not know.
func (p *poster) lost(session string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == session {
		p.session = ""
	}
}

func (p *poster) post(ctx context.Context, session, method string, params any) (*connproto.Answer, error) {
	return p.c.Exchange(ctx, p.last.Add(1), session, method, params, func(ctx context.Context, body []byte) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.at.String(), bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header = p.headers.Clone()
		req.Header.Set("Content-Type", "application/json")
		resp, err := p.client.Do(req)
		if err != nil {
			return nil, diagnose(ctx, err)
		}
		defer func() { _ = resp.Body.Close() }() // only read from
		data, err := io.ReadAll(io.LimitReader(resp.Body, connproto.MaxAnswer+1))
		switch {
		case err != nil:
			return nil, diagnose(ctx, err)
		case resp.StatusCode != http.StatusOK:
			return nil, statusError(resp.StatusCode)
		default:
			return data, nil
		}
	})
}

func diagnose(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d := connkit.Diagnose(err)
	return &connectors.Error{Class: d.Class, Code: d.Code, Err: errors.New(d.Text)}
}

// statusError is for what is between the worker and the plugin, as a plugin answers 200
// whatever it has to say.
func statusError(status int) error {
	e := &connectors.Error{Code: fmt.Sprint(status), Err: fmt.Errorf("the plugin's address answered %d instead of 200", status)}
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		e.Class = connectors.Misconfigured
	}
	return e
}

// close ends the session at the plugin, which keeps running.
func (p *poster) Close(ctx context.Context) error {
	p.mu.Lock()
	session := p.session
	p.session = ""
	p.mu.Unlock()
	if session != "" {
		ctx, cancel := context.WithTimeout(ctx, closeTime)
		_, _ = p.post(ctx, session, connproto.MethodClose, struct{}{}) // a plugin forgets sessions that are not used, too
		cancel()
	}
	p.client.CloseIdleConnections()
	return nil
}

// checkHeaders adds what is wrong with the names of headers.
func checkHeaders(p *connectors.Problems, headers map[string]connectors.Ref) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		switch bad := strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }); {
		case name == "" || bad || connectors.Ref(name).HasReference():
			p.Add("headers", "%q is no name of a header", name)
		case slices.Contains([]string{"Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection"}, http.CanonicalHeaderKey(name)):
			p.Add("headers."+name, "extsync sets it")
		case connkit.SecretHeader(name):
			connkit.MustRefer(p, "headers."+name, headers[name])
		case strings.ContainsFunc(string(headers[name]), unicode.IsControl):
			p.Add("headers."+name, "its value has a control character")
		}
	}
}
