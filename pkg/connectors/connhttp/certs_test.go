package connhttp

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testcert"
	"github.com/hms-utl/extsync/internal/testkit"
)

// An authority issues certificates in PEM.
type authority struct {
	*testcert.Authority
	pem string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a, err := testcert.New()
	testkit.Must(t, err)
	return &authority{Authority: a, pem: string(a.PEM)}
}

// issue returns a certificate and its key for an address and names, that ends after
// the given time.
func (a *authority) issue(t *testing.T, ends time.Duration, ip string, names ...string) (cert, key string) {
	t.Helper()
	c, k, err := a.Issue(testcert.Leaf{For: ends, IP: ip, Names: names})
	testkit.Must(t, err)
	return string(c), string(k)
}

// serveTLS starts a server with this certificate. clients, if not nil, is who
// must have signed the client's.
func serveTLS(t *testing.T, cert, key string, clients *authority, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = quietLog()
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clients != nil {
		// With TLS 1.3 the client has gone on to its request when it is refused, and
		// the reset of the connection can overtake the alert.
		s.TLS.MaxVersion = tls.VersionTLS12
		s.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		s.TLS.ClientCAs = x509.NewCertPool()
		s.TLS.ClientCAs.AddCert(clients.Cert)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}
