package connkafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/hms-utl/extsync/internal/testcert"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// A secured broker has a certificate of an authority of its own.
type secured struct {
	*broker
	secrets map[string]string
}

// startSecured starts a broker that speaks TLS alone. What it holds is in memory, as it is
// told of by its own address.
func startSecured(t *testing.T, certified bool, args ...string) *secured {
	t.Helper()
	authority, err := testcert.New()
	testkit.Must(t, err)
	cert, key, err := authority.Issue(testcert.Leaf{})
	testkit.Must(t, err)
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		testkit.Must(t, os.WriteFile(path, data, 0o600))
		return path
	}
	args = append([]string{"-memory", "-cert", file("cert.pem", cert), "-key", file("key.pem", key)}, args...)
	if certified {
		args = append(args, "-clients", file("ca.pem", authority.PEM))
	}
	ours, oursKey, err := authority.Issue(testcert.Leaf{Serial: 3})
	testkit.Must(t, err)
	pair, err := tls.X509KeyPair(ours, oursKey)
	testkit.Must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(authority.Cert)
	s := &secured{startBroker(t, args...), map[string]string{"CA": string(authority.PEM), "CERT": string(ours), "KEY": string(oursKey), "P": testPassword}}
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}
	s.options = []kgo.Opt{kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, s.addr)
	})}
	return s
}

// connect opens a connector to it.
func (s *secured) connect(t *testing.T, more string) *connectors.Opened {
	t.Helper()
	c := open(t, "brokers: ['"+s.addr+"']\ntopic: people\nallow_cidrs: [127.0.0.0/8]\n"+more, s.secrets)
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) }) // nothing is lost by it
	return c
}

const trusted = "ca: '${env:CA}'"

func TestTLS(t *testing.T) {
	s := startSecured(t, false)
	s.topic(t, "people", 3, compacted(nil))
	const ok, act, passes = connectors.OK, connectors.Misconfigured, connectors.Transient
	for name, c := range map[string]struct {
		more  string
		class connectors.Class
		code  string
	}{
		"its authority":     {"tls: {" + trusted + "}\n", ok, ""},
		"another authority": {"", act, connkit.CodeTLSVerify},
		"another name":      {"tls: {" + trusted + ", server_name: other.example}\n", act, connkit.CodeTLSVerify},
		"in the clear":      {"security: plain\n", passes, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := s.connect(t, c.more)
			for version := int64(1); version <= 2; version++ {
				want(t, apply(t, conn, attempt("k", version, "{}"))[0], c.class, c.code)
			}
			if err := conn.Probe(t.Context()); (err == nil) != (c.class == ok) || err != nil && connectors.ClassOf(err) != c.class {
				t.Errorf("the probe says %v, want %s", err, c.class)
			}
		})
	}
	if got := len(newInbox(s.broker, "people").records(t, "k")); got != 2 {
		t.Errorf("the topic has %d records", got)
	}
}

// A broker that knows its clients by their certificates.
func TestClientCertificate(t *testing.T) {
	s := startSecured(t, true)
	s.topic(t, "people", 3, compacted(nil))
	conn := s.connect(t, "tls: {"+trusted+", cert: '${env:CERT}', key: '${env:KEY}'}\n")
	want(t, apply(t, conn, attempt("k", 1, "{}"))[0], connectors.OK, "")
	without := s.connect(t, "tls: {"+trusted+"}\n")
	// In TLS 1.3 the refusal comes after the handshake, and may show as a reset.
	testkit.Eventually(t, "the alert is seen", func() bool {
		res := apply(t, without, attempt("k", 2, "{}"))[0]
		if res.Class == connectors.OK {
			t.Fatal("it gets in without a certificate")
		}
		return res.Class == connectors.Misconfigured && res.Code == connkit.CodeTLSAlert
	})
}

// A login by the mechanism PLAIN, with the password within TLS.
func TestPlainLogin(t *testing.T) {
	s := startSecured(t, false, "-user", "PLAIN:admin:"+testPassword)
	s.options = append(s.options, kgo.SASL(plain.Auth{User: "admin", Pass: testPassword}.AsMechanism()))
	s.topic(t, "people", 3, compacted(nil))
	const login = "mechanism: plain\npassword: ${env:P}\ntls: {" + trusted + "}\n"
	want(t, apply(t, s.connect(t, login+"user: admin\n"), attempt("k", 1, "{}"))[0], connectors.OK, "")
	ctx, cancel := context.WithTimeout(t.Context(), connectortest.Timeout)
	defer cancel()
	if err := s.connect(t, login+"user: nobody\n").Probe(ctx); err == nil {
		t.Error("nobody gets in")
	}
	if got := len(newInbox(s.broker, "people").records(t, "k")); got != 1 {
		t.Errorf("the topic has %d records", got)
	}
}
