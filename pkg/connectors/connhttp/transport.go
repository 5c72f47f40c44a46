package connhttp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// A proxyError says that the proxy, not the target, failed.
type proxyError struct {
	status int // of its answer to CONNECT, 0 if there was none
	err    error
}

func (e *proxyError) Error() string {
	if e.status != 0 {
		return fmt.Sprintf("the proxy answered %d %s", e.status, http.StatusText(e.status))
	}
	return "the proxy cannot be reached"
}

func (e *proxyError) Unwrap() error { return e.err }

// newTransport returns a transport that connects only where the dialer does, in
// connections enough for the channel's concurrency.
func newTransport(o *opened) httpkit.Transport {
	dialer, t := o.dialer, httpkit.NewTransport(o.dialer, o.tls, o.concurrency)
	t.TLSHandshakeTimeout = o.ConnectTimeout.D()
	if o.proxy == nil {
		return t
	}
	t.Proxy = http.ProxyURL(o.proxy)
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, &proxyError{err: err}
		}
		return conn, nil
	}
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
		if answer.StatusCode != http.StatusOK {
			return &proxyError{status: answer.StatusCode, err: errors.New("CONNECT was refused")}
		}
		return nil
	}
	return t
}

// parse returns the proxy's address. Its errors do not repeat the text.
func (x Proxy) parse() (*url.URL, error) {
	u, err := url.Parse(x.URL)
	switch {
	case err != nil:
		return nil, errors.New("it is not a URL")
	case u.Scheme != "http" && u.Scheme != "socks5":
		return nil, errors.New("it must start with http:// or socks5://")
	case u.User != nil:
		return nil, errors.New("it must not hold a user name or password; use proxy.username and proxy.password")
	case u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("it must be a host and a port, and nothing else")
	}
	return u, nil
}
