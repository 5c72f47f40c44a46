package connredis_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connredis"
)

func TestTLS(t *testing.T) {
	s := testdb.StartRedisTLS(t)
	ca, err := os.ReadFile(s.CAFile())
	testkit.Must(t, err)
	env := connectortest.Env(map[string]string{"CA": string(ca)})
	_, port, _ := strings.Cut(s.Addr(), ":")
	for name, c := range map[string]struct {
		url, tls string
		class    connectors.Class
		code     string
	}{
		"trusted":           {"rediss://127.0.0.1:" + port, "{ca: '${env:CA}'}", connectors.OK, ""},
		"by another name":   {"rediss://127.0.0.1:" + port, "{ca: '${env:CA}', server_name: localhost}", connectors.OK, ""},
		"for another name":  {"rediss://127.0.0.1:" + port, "{ca: '${env:CA}', server_name: cache.example}", connectors.Misconfigured, "tls_verify"},
		"not trusted":       {"rediss://127.0.0.1:" + port, "{}", connectors.Misconfigured, "tls_verify"},
		"not verified":      {"rediss://127.0.0.1:" + port, "{insecure_skip_verify: true}", connectors.OK, ""},
		"TLS is not spoken": {"redis://127.0.0.1:" + port, "{}", connectors.Transient, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := openWith(t, env, fmt.Appendf(nil, "url: %s\ntls: %s\nallow_cidrs: [127.0.0.0/8]\n", c.url, c.tls))
			want(t, apply(t, c2, attempt("k", 1, "{}"))[0], c.class, c.code)
		})
	}
}

func TestNobodyThere(t *testing.T) {
	s := testdb.StartRedis(t)
	s.Stop(t)
	c := openWith(t, env(), fmt.Appendf(nil, "url: redis://%s\nallow_cidrs: [127.0.0.0/8]\n", s.Addr()))
	for range 3 * connectortest.Concurrency { // the library stops trying after some
		want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.Transient, connectors.CodeRefused)
	}
	s.Start(t)
	want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.OK, "")
	if _, err := c.Read(t.Context(), []string{"k"}); err != nil {
		t.Error(err)
	}
}

func TestNetworksThatAreNotAllowed(t *testing.T) {
	c := openWith(t, env(), []byte("url: redis://127.0.0.1:1\n"))
	want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.Misconfigured, "address_denied")
	_, err := connectors.Open(t.Context(), connredis.Kind(), connectors.Host{}.Env("c"), []byte("url: redis://127.0.0.1:1\nallow_cidrs: [127.0.0.0/8]\n"))
	if connectors.ClassOf(err) != connectors.Misconfigured {
		t.Errorf("opened beyond what the operator allows: %v", err)
	}
}

// A login that is refused is seen by whatever asks first, reads and probes too.
func TestRefusedLogin(t *testing.T) {
	s := testdb.StartRedis(t)
	s.Exec(t, "", "CONFIG SET requirepass other")
	for config, code := range map[string]string{"": "NOAUTH", "password: ${env:PW}\n": "WRONGPASS", "username: nobody\npassword: ${env:PW}\n": "WRONGPASS"} {
		lines := fmt.Appendf(nil, "url: redis://%s\nallow_cidrs: [127.0.0.0/8]\n%s", s.Addr(), config)
		want(t, apply(t, openWith(t, env(), lines), attempt("k", 1, "{}"))[0], connectors.Misconfigured, code)
		c := openWith(t, env(), lines)
		if _, err := c.Read(t.Context(), []string{"k"}); connectors.ClassOf(err) != connectors.Misconfigured {
			t.Errorf("Read: %v", err)
		}
		if _, err := c.Compare(t.Context(), []connectors.Attempt{attempt("k", 1, "{}")}); connectors.ClassOf(err) != connectors.Misconfigured {
			t.Errorf("Compare: %v", err)
		}
		if err := c.Probe(t.Context()); connectors.ClassOf(err) != connectors.Misconfigured {
			t.Errorf("Probe: %v", err)
		}
	}
}

func TestDatabases(t *testing.T) {
	s := testdb.StartRedis(t)
	open := func(url string) *connectors.Opened {
		return openWith(t, env(), fmt.Appendf(nil, "url: redis://%s\nallow_cidrs: [127.0.0.0/8]\n", s.Addr()+url))
	}
	want(t, apply(t, open("/3"), attempt("k", 7, "{}"))[0], connectors.OK, "")
	want(t, apply(t, open(""), attempt("k", 6, "{}"))[0], connectors.OK, "") // it is not there
	want(t, apply(t, open("/3"), attempt("k", 6, "{}"))[0], connectors.Stale, "stale")
	want(t, apply(t, open("/99"), attempt("k", 6, "{}"))[0], connectors.Misconfigured, "no_database")
}

func TestServerThatIsNoCluster(t *testing.T) {
	c := openWith(t, env(), fmt.Appendf(nil, "url: redis://%s\ncluster: true\nallow_cidrs: [127.0.0.0/8]\n", testdb.StartRedis(t).Addr()))
	want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.Misconfigured, "no_cluster")
}

// Nothing is begun after the end of the connector, and its end comes to what is under way.
func TestCloseEndsCalls(t *testing.T) {
	d := newTarget(t, "")
	c, err := connectors.Open(t.Context(), connredis.Kind(), env(), d.lines())
	testkit.Must(t, err)
	want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.OK, "")
	testkit.Must(t, c.Close(context.WithoutCancel(t.Context())))
	want(t, apply(t, c, attempt("k", 2, "{}"))[0], connectors.Transient, "")
}
