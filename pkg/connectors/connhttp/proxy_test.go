package connhttp

import (
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// A forwarder is a small HTTP proxy: CONNECT, and requests in absolute form.
type forwarder struct {
	password string
	refuse   int // the status that it answers instead of doing its work, if not 0
	used     atomic.Int32
}

func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.used.Add(1)
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+f.password))
	switch {
	case r.Header.Get("Proxy-Authorization") != want:
		w.WriteHeader(http.StatusProxyAuthRequired)
	case f.refuse != 0:
		w.WriteHeader(f.refuse)
	case r.Method == http.MethodConnect:
		f.connect(w, r)
	default:
		r.RequestURI = ""
		r.Header.Del("Proxy-Authorization")
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}
}

func (f *forwarder) connect(w http.ResponseWriter, r *http.Request) {
	target, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	// The client speaks only after the answer, so nothing of it is in the server's
	// buffer when the connection is taken over.
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	splice(conn, target)
}

func splice(a, b net.Conn) {
	go func() {
		_, _ = io.Copy(a, b)
		_ = a.Close()
	}()
	_, _ = io.Copy(b, a)
	_ = b.Close()
}

func TestProxy(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Hour, "127.0.0.1")
	ok := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("the target got the proxy's password")
		}
		w.WriteHeader(http.StatusAccepted)
	}
	plain := httptest.NewServer(http.HandlerFunc(ok))
	t.Cleanup(plain.Close)
	secure := serveTLS(t, cert, key, nil, ok)
	gone := listen(t, func(net.Conn) {})
	_ = gone.Close()
	for _, c := range []struct {
		name     string
		url      string
		password string
		refuse   int
		want     connectors.Class
		code     string
	}{
		{"plain target", plain.URL, testToken, 0, connectors.OK, "202"},
		{"TLS target", secure.URL, testToken, 0, connectors.OK, "202"},
		{"plain target, wrong password", plain.URL, "wrong", 0, connectors.Misconfigured, "407"},
		{"TLS target, wrong password", secure.URL, "wrong", 0, connectors.Misconfigured, "proxy"},
		{"TLS target, refused by rule", secure.URL, testToken, 403, connectors.Misconfigured, "proxy"},
		{"TLS target, proxy in trouble", secure.URL, testToken, 503, connectors.Transient, "proxy"},
		{"TLS target that is not there", "https://" + gone.Addr().String(), testToken, 0, connectors.Transient, "proxy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &forwarder{password: c.password, refuse: c.refuse}
			s := httptest.NewServer(f)
			t.Cleanup(s.Close)
			conn := openTest(t, Config{
				URL: connectors.Ref(c.url), TLS: connkit.TLS{CA: connectors.Ref(ca.pem)}, AllowCIDRs: []string{"127.0.0.0/8"},
				Proxy: Proxy{URL: s.URL, Username: "user", Password: "${env:TOKEN}"},
			}, deps{now: time.Now})
			got := applyOne(t, conn)
			wantResult(t, got, c.want, c.code)
			if f.used.Load() == 0 {
				t.Error("the proxy was not used")
			}
			if got.Err != nil && strings.Contains(got.Err.Error(), testToken) {
				t.Errorf("the error shows the password: %v", got.Err)
			}
		})
	}
}

func TestProxyThatIsNotThere(t *testing.T) {
	gone := listen(t, func(net.Conn) {})
	_ = gone.Close()
	for _, scheme := range []string{"http://", "socks5://"} {
		for _, target := range []connectors.Ref{"http://target.example/", "https://target.example/"} {
			c := Config{URL: target, AllowCIDRs: []string{"127.0.0.0/8"}, Proxy: Proxy{URL: scheme + gone.Addr().String()}}
			wantResult(t, applyOne(t, openTest(t, c, deps{now: time.Now})), connectors.Transient, "proxy")
		}
	}
}

// TestProxyAddressIsGuarded: a channel cannot reach into the network by naming a
// proxy there.
func TestProxyAddressIsGuarded(t *testing.T) {
	dns := newNameServer(t)
	dns.answer([4]byte{127, 0, 0, 1})
	c := Config{URL: "http://target.example/", Proxy: Proxy{URL: "http://proxy.example:3128"}}
	wantResult(t, applyOne(t, openResolving(t, testEnv().Timeout, c, dns.resolver())), connectors.Misconfigured, "address_denied")
}

func TestSOCKS(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(target.Close)
	for _, c := range []struct {
		name  string
		reply byte
		want  connectors.Class
		code  string
	}{
		{"works", 0, connectors.OK, "200"},
		{"refused by rule", 2, connectors.Transient, "proxy"},
		{"host unreachable", 4, connectors.Transient, "proxy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := listen(t, func(conn net.Conn) { socks(t, conn, c.reply, target.Listener.Addr().String()) })
			config := Config{
				URL: "http://target.example/", AllowCIDRs: []string{"127.0.0.0/8"},
				Proxy: Proxy{URL: "socks5://" + l.Addr().String()},
			}
			wantResult(t, applyOne(t, openTest(t, config, deps{now: time.Now})), c.want, c.code)
		})
	}
}

// socks serves one connection of SOCKS 5 (RFC 1928) without authentication,
// whose requests name their target.
func socks(t *testing.T, conn net.Conn, reply byte, target string) {
	defer func() { _ = conn.Close() }()
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	if _, err := io.ReadFull(conn, make([]byte, head[1])); err != nil {
		return
	}
	_, _ = conn.Write([]byte{5, 0})
	request := make([]byte, 5)
	if _, err := io.ReadFull(conn, request); err != nil || request[3] != 3 {
		t.Errorf("the proxy was not asked for a name: %v, %v", request, err)
		return
	}
	if _, err := io.ReadFull(conn, make([]byte, int(request[4])+2)); err != nil {
		return
	}
	_, _ = conn.Write([]byte{5, reply, 0, 1, 0, 0, 0, 0, 0, 0})
	if reply != 0 {
		return
	}
	to, err := (&net.Dialer{}).Dial("tcp", target)
	if err != nil {
		t.Error(err)
		return
	}
	splice(conn, to)
}
