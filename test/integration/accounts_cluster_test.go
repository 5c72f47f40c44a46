package integration

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/gateway"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// newGuardedCluster is newGuardedBy for three servers, with the configuration that
// broker-config writes for a cluster but for the addresses.
func newGuardedCluster(t testing.TB, names string, change func(conf string) string, more ...string) *guarded {
	t.Helper()
	const size = 3
	var hosts, urls []string
	var routes []*url.URL
	ports := faults.FreePorts(t, 2*size)
	clients, members := ports[:size], ports[size:]
	for n := range size {
		hosts = append(hosts, fmt.Sprint("nats-", n+1))
		urls = append(urls, fmt.Sprint("tls://127.0.0.1:", clients[n]))
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: fmt.Sprint("127.0.0.1:", members[n])})
	}
	g := &guarded{t: t, dir: t.TempDir(), url: strings.Join(urls, ","), site: &site{t: t, dir: t.TempDir()}, replicas: size}
	g.flags = append([]string{
		"broker-config", "--out", g.dir, "--channels", names, "--services", "billing", "--certificates",
		"--cluster", strings.Join(hosts, ","), "--server-listen", "127.0.0.1:4222", "--store-dir", "/set/below",
	}, more...)
	extsync(g.flags...).ok(t)
	var servers []*server.Server
	for n, host := range hosts {
		file := filepath.Join(g.dir, "server", host+".conf")
		opts, err := server.ProcessConfigFile(g.site.file(host+".conf", change(g.site.read(file))))
		testkit.Must(t, err)
		opts.NoLog, opts.NoSigs, opts.StoreDir = true, true, filepath.Join(t.TempDir(), "data")
		opts.Port, opts.Cluster.Host, opts.Cluster.Port, opts.Routes = clients[n], "127.0.0.1", members[n], routes
		srv, err := server.NewServer(opts)
		testkit.Must(t, err)
		srv.Start()
		t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
		servers = append(servers, srv)
	}
	testkit.Eventually(t, "a cluster of three", func() bool {
		led := false
		for _, srv := range servers {
			if !srv.ReadyForConnections(testkit.Patience) || !srv.JetStreamIsCurrent() {
				return false
			}
			led = led || srv.JetStreamIsLeader() && len(srv.JetStreamClusterPeers()) == size
		}
		return led
	})
	return g
}

// In a cluster requests and answers go between servers, by other code. That the attack is
// one there, too, shows that the test would see it.
func TestReplySubjectsWriteAndDeleteNothingInACluster(t *testing.T) {
	t.Parallel()
	g := newGuardedCluster(t, "portal", func(conf string) string { return conf }, "--group", "mine:portal")
	g.fill()
	for _, role := range []brokerconfig.Role{brokerconfig.Publisher, groupRole, brokerconfig.Gateway, brokerconfig.Worker} {
		tried, did := g.attack(role, "portal")
		if len(did) > 0 {
			t.Errorf("%s:\n%s", role, strings.Join(did, "\n"))
		}
		t.Logf("%s: %d attempts", role, tried)
	}
	g.asksFromEachServer()
	one := newGuardedCluster(t, "portal", oneAccount(t, "portal"), "--group", "mine:portal")
	one.fill()
	one.seesAttack()
}

// asksFromEachServer asks an administrator, who is connected to one of the servers, at each,
// before one is there and afterwards.
func (g *guarded) asksFromEachServer() {
	t := g.t
	t.Helper()
	token, _ := g.token(g.signer(), "configure")
	ask := func(url string) (gateway.Answer, error) {
		c := g.nats(brokerconfig.Gateway)
		c.URL = url
		nc, err := broker.Connect(t.Context(), c, zerolog.Nop())
		testkit.Must(t, err)
		defer nc.Close()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/channels/portal", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return gateway.Forward(t.Context(), nc, wire.Administration(events.DefaultNames()), r, nil)
	}
	urls := strings.Split(g.url, ",")
	for _, url := range urls {
		if a, err := ask(url); !errors.Is(err, gateway.ErrNobody) {
			t.Errorf("without an administrator: %+v, %v", a, err)
		}
	}
	administrator, _ := g.administrator()
	for _, url := range urls {
		testkit.Eventually(t, "the administrator to be known at "+url, func() bool {
			a, err := ask(url)
			return err == nil && a.Status == http.StatusOK
		})
	}
	g.end(administrator, "")
}
