package broker_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/testcert"
	"github.com/hms-utl/extsync/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a NATS server with these options: unlike the embedded one of the
// product it can ask for credentials.
func serve(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoSigs, o.NoLog = "127.0.0.1", true, true
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return s
}

func connect(t *testing.T, c broker.Config, extra ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := broker.Connect(t.Context(), c, zerolog.Nop(), extra...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return nc
}

// logBuffer is a log that the client's goroutines may write to.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// authority signs certificates for 127.0.0.1.
type authority struct {
	*testcert.Authority
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a, err := testcert.New()
	testkit.Must(t, err)
	return &authority{Authority: a, file: writeFile(t, "ca.pem", a.PEM)}
}

// issue returns the files of a certificate and its key.
func (a *authority) issue(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	cert, key, err := a.Issue(testcert.Leaf{})
	testkit.Must(t, err)
	return writeFile(t, "cert.pem", cert), writeFile(t, "key.pem", key)
}

// serverTLS returns the settings of a server that asks for client certificates.
func (a *authority) serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(a.issue(t))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{cert},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}
}
