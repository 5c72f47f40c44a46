package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	door "github.com/hms-utl/extsync/pkg/extsync"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A guarded is a broker with the configuration that broker-config has written.
type guarded struct {
	t        testing.TB
	dir, url string
	site     *site
	srv      *server.Server
	flags    []string // of broker-config
	replicas int      // of streams, if there are several servers
}

func newGuarded(t testing.TB, names string, more ...string) *guarded {
	t.Helper()
	return newGuardedBy(t, names, func(conf string) string { return conf }, more...)
}

// newGuardedBy is newGuarded with another configuration, made from what broker-config has
// written.
func newGuardedBy(t testing.TB, names string, change func(conf string) string, more ...string) *guarded {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	g := &guarded{t: t, dir: t.TempDir(), url: "tls://" + address, site: &site{t: t, dir: t.TempDir()}}
	g.flags = []string{
		"broker-config", "--out", g.dir, "--channels", names, "--services", "billing", "--certificates",
		"--server-listen", address, "--store-dir", filepath.Join(t.TempDir(), "data"),
	}
	g.flags = append(g.flags, more...)
	extsync(g.flags...).ok(t)
	_ = listener.Close() // the port is for the server
	file := filepath.Join(g.dir, "server", "nats.conf")
	if err := os.WriteFile(file, []byte(change(g.site.read(file))), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoLog, opts.NoSigs = true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(testkit.Patience) {
		t.Fatal("the server does not take connections")
	}
	g.srv = srv
	return g
}

func (g *guarded) nats(r brokerconfig.Role) broker.Config {
	dir := filepath.Join(g.dir, string(r))
	return broker.Config{
		URL: g.url, NKeySeedFile: filepath.Join(dir, "seed.nk"), InboxPrefix: r.InboxPrefix(),
		TLS: broker.TLS{CAFile: filepath.Join(dir, "ca.crt"), CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")},
	}
}

// program returns one of the programs in a role.
func (g *guarded) program(r brokerconfig.Role, name string, args ...string) program {
	c := g.nats(r)
	return program{name: name, args: args, env: []string{
		"EXTSYNC_NATS_URL=" + c.URL, "EXTSYNC_NATS_NKEY_SEED_FILE=" + c.NKeySeedFile, "EXTSYNC_NATS_INBOX_PREFIX=" + c.InboxPrefix,
		"EXTSYNC_NATS_TLS_CA_FILE=" + c.TLS.CAFile, "EXTSYNC_NATS_TLS_CERT_FILE=" + c.TLS.CertFile, "EXTSYNC_NATS_TLS_KEY_FILE=" + c.TLS.KeyFile,
	}}
}

// client returns a connection in a role. The test fails if the broker has refused
// it anything by the end.
func (g *guarded) client(r brokerconfig.Role) *operate.Client {
	g.t.Helper()
	cfg := config.Default()
	cfg.NATS = g.nats(r)
	c, err := operate.Connect(g.t.Context(), cfg, zerolog.Nop())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if err := c.Refused(); err != nil {
			g.t.Errorf("%s: %v", r, err)
		}
		c.Close()
	})
	return c
}

const guardedChannels = `
channels:
  - name: portal
    retry: {initial_backoff: 20ms, max_backoff: 100ms}
    connector: {kind: http, config: {url: %[1]q, allow_cidrs: [127.0.0.0/8]}}
  - name: cases
    mode: every
    window: 4
    partitions: 4
    retry: {initial_backoff: 20ms, max_backoff: 100ms, max_attempts: 1000}
    connector: {kind: http, config: {url: %[1]q, allow_cidrs: [127.0.0.0/8]}}
`

// Each process runs in its own role, and everything that it does is allowed:
// publishing, delivering, acks, parking, dead letters, replay, resync, reset,
// hand-over and what people ask.
func TestRolesAreEnoughForEverything(t *testing.T) {
	t.Parallel()
	var sick atomic.Bool
	sick.Store(true)
	url := target(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case sick.Load() && strings.Contains(r.Header.Get("ce-subject"), "refused"):
			w.WriteHeader(http.StatusBadRequest)
		case sick.Load() && strings.Contains(r.Header.Get("ce-subject"), "slow"):
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	g := newGuarded(t, "portal,cases")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, url))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	worker := g.program(brokerconfig.Worker, "connector-worker", "run").start(t)

	g.program(brokerconfig.Publisher, "publisher", "push", "portal", "p-1", "1", "--data", `{"n":1}`, "--wait", "30s").ok(t)
	admin, publisher := g.client(brokerconfig.Admin), g.client(brokerconfig.Publisher)
	pub, err := publisher.Publisher(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	push := func(channel, key string, version int64, reply string) {
		t.Helper()
		number, err := versioning.Number(version)
		if err != nil {
			t.Fatal(err)
		}
		u := events.Update{
			Channel: channel, Key: key, Version: number, ReplyTo: reply,
			Payload: fmt.Appendf(nil, `{"version":%d}`, version),
		}
		if _, err := pub.Publish(t.Context(), u); err != nil {
			t.Fatalf("publish %s %s: %v", channel, key, err)
		}
	}
	state := func(channel, key string) string {
		found, err := publisher.Find(t.Context(), key, channel)
		switch {
		case errors.Is(err, operate.ErrUnknownKey): // on its way from the stream into the ledger
			return ""
		case err != nil:
			t.Fatalf("find %s: %v", key, err)
		}
		return found[0].State
	}

	// Acks that the broker keeps for a service.
	reply, err := events.DefaultNames().ServiceAck("billing", "1")
	if err != nil {
		t.Fatal(err)
	}
	g.program(brokerconfig.Admin, "extsync", "services", "add", "billing").ok(t)
	push("portal", "p-2", 1, reply)
	acks, stop := context.WithTimeout(t.Context(), testkit.Patience)
	defer stop()
	for ack, err := range publish.ServiceAcks(acks, publisher.JS, publisher.Names, "billing") {
		if err != nil || ack.Key != "p-2" {
			t.Fatalf("ack %+v, %v", ack, err)
		}
		break
	}

	// Waiting for an outcome.
	first := versioning.Must(versioning.Number(1))
	for _, c := range []*operate.Client{admin, publisher} {
		if ack, err := c.Wait(t.Context(), "portal", "p-1", first); err != nil || ack.Outcome != events.Delivered {
			t.Errorf("wait: %+v, %v", ack, err)
		}
	}

	// A key that fills the window is parked, a refused one becomes a dead letter.
	for v := range int64(8) {
		push("cases", "slow", v+1, "")
	}
	push("portal", "refused", 1, "")
	ledger, err := wire.OpenLedger(t.Context(), publisher.JS, publisher.Names)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the key to be parked", func() bool {
		rec, err := ledger.Get(t.Context(), "cases", "slow")
		return err == nil && rec.State == wire.StateParked
	})
	testkit.Eventually(t, "the dead letter", func() bool { return state("portal", "refused") == "dead_lettered" })

	// Another worker takes over and heals all.
	worker.signal(t, syscall.SIGTERM)
	if code := worker.wait(t); code != cli.ExitOK {
		t.Fatalf("exit code %d", code)
	}
	next := g.program(brokerconfig.Worker, "connector-worker", "run").start(t)
	sick.Store(false)
	testkit.Eventually(t, "the parked updates to be delivered", func() bool { return state("cases", "slow") == "delivered" })

	letters, err := admin.DeadLetters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := letters.Replay(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the replay to be delivered", func() bool { return state("portal", "refused") == "delivered" })

	registry, err := admin.Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	resetKeyAndResync(t, registry)
	if _, err := wire.History(t.Context(), publisher.JS, publisher.Names, "portal", "p-1", 10); err != nil {
		t.Fatal(err)
	}

	next.signal(t, syscall.SIGTERM)
	if code := next.wait(t); code != cli.ExitOK {
		t.Fatalf("exit code %d", code)
	}
	for _, log := range []string{worker.stderr(), next.stderr()} {
		if strings.Contains(log, "ermissions") {
			t.Errorf("a worker was refused something:\n%s", log)
		}
	}
}

// Each role is refused what belongs to the others, and says which permission is
// missing.
func TestRolesAreNotEnoughForAnythingElse(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal", "--topics", "policies")
	refused := map[brokerconfig.Role][]string{
		brokerconfig.Publisher: {
			"sync.topics.other.k", "sync.top.policies.1.1.k", "$KV.sync_channels.topic.policies", "$JS.API.STREAM.PURGE.SYNC_TOPIC_policies", "$JS.API.STREAM.MSG.DELETE.SYNC_TOPIC_policies",
			"$JS.API.STREAM.MSG.GET.SYNC_TOPIC_other", "$JS.API.CONSUMER.CREATE.SYNC_TOPIC_policies.x",
			"sync.updates.other.k", "sync.upd.portal.1.1.k", "sync.out.portal.692a1b2c00000001.0", "sync.acks.billing.1", "sync.dead.portal.1.1.k", "sync.parked.portal.1.1.k", "sync.ctl.portal.0",
			"$KV.sync_channels.portal", "$KV.sync_ledger.portal.1.5.k", "$KV.sync_leases.1", "$KV.sync_workers.w", "$KV.sync_progress.portal.1.0",
			"$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.DELETE.SYNC_UPD_portal", "$JS.API.STREAM.PURGE.SYNC_UPD_portal", "$JS.API.STREAM.UPDATE.SYNC_UPD_portal",
			"$JS.API.STREAM.MSG.DELETE.SYNC_UPD_portal", "$JS.API.STREAM.MSG.GET.SYNC_UPD_other", "$JS.API.STREAM.MSG.GET.SYNC_DEAD",
			"$JS.API.CONSUMER.CREATE.SYNC_UPD_portal.x", "$JS.API.CONSUMER.CREATE.SYNC_ACKS.svc-other.sync.acks.other.*", "$JS.API.CONSUMER.MSG.NEXT.SYNC_ACKS.svc-other",
			"$JS.ACK.SYNC_UPD_portal.c.1.1.1.1.1", "$JS.API.STREAM.LIST", "_INBOX_worker.x", "_INBOX_admin.x",
			"$KV.sync_installation.incarnation", "sync.audit.channel", "$KV.sync_tokens.t", "$KV.sync_idempotency.k", "$JS.API.STREAM.MSG.GET.KV_sync_tokens", "$JS.API.STREAM.MSG.GET.SYNC_AUDIT",
		},
		brokerconfig.Gateway: {
			"sync.topics.other.k", "sync.top.policies.1.1.k", "$JS.API.STREAM.DELETE.SYNC_TOPIC_policies", "$JS.API.STREAM.MSG.GET.SYNC_TOPIC_other",
			"sync.updates.other.k", "sync.upd.portal.1.1.k", "sync.out.portal.692a1b2c00000001.0", "sync.acks.billing.1", "sync.dead.portal.1.1.k", "sync.parked.portal.1.1.k", "sync.ctl.portal.0",
			"$KV.sync_installation.incarnation", "sync.audit.channel", "$KV.sync_tokens.t", "$KV.sync_channels.portal", "$KV.sync_ledger.portal.1.5.k", "$KV.sync_progress.portal.1.0",
			"$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.DELETE.SYNC_UPD_portal", "$JS.API.STREAM.PURGE.SYNC_UPD_portal", "$JS.API.STREAM.PURGE.KV_sync_tokens",
			"$JS.API.STREAM.MSG.DELETE.SYNC_DEAD", "$JS.API.STREAM.MSG.GET.SYNC_AUDIT", "$JS.API.STREAM.MSG.GET.SYNC_UPD_other",
			"$JS.API.CONSUMER.CREATE.SYNC_UPD_other.x.>", "$JS.API.CONSUMER.CREATE.SYNC_AUDIT.x.sync.audit.>", "$JS.ACK.SYNC_UPD_portal.c.1.1.1.1.1", "_INBOX_worker.x",
		},
		brokerconfig.Worker: {
			"sync.topics.other.k", "$KV.sync_channels.topic.policies", "$JS.API.STREAM.MSG.GET.SYNC_TOPIC_other", "$JS.API.CONSUMER.CREATE.SYNC_TOPIC_other.x", "$JS.API.STREAM.PURGE.SYNC_TOPIC_policies",
			"sync.updates.portal.k", "sync.out.other.692a1b2c00000001.0", "sync.dead.other.1.1.k", "sync.ctl.portal.0",
			"$KV.sync_channels.portal", "$KV.sync_ledger.other.1.5.k", "$KV.sync_progress.other.1.0",
			"$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.DELETE.SYNC_UPD_portal", "$JS.API.STREAM.PURGE.SYNC_UPD_portal", "$JS.API.STREAM.PURGE.KV_sync_ledger",
			"$JS.API.STREAM.PURGE.KV_sync_workers", "$JS.API.STREAM.MSG.DELETE.KV_sync_leases",
			"$JS.API.CONSUMER.CREATE.SYNC_UPD_other.x", "$JS.API.STREAM.MSG.GET.SYNC_UPD_other", "$JS.ACK.SYNC_ACKS.svc-billing.1.1.1.1.1", "_INBOX_worker.x",
			"$KV.sync_installation.incarnation", "sync.audit.channel", "$KV.sync_tokens.t", "$JS.API.STREAM.MSG.GET.KV_sync_tokens", "$KV.sync_idempotency.k",
		},
		brokerconfig.Admin: {"other.subject", "$SYS.REQ.SERVER.PING", "_INBOX_worker.x"},
	}
	deaf := map[brokerconfig.Role][]string{
		brokerconfig.Publisher: {"_INBOX.>", "_INBOX_worker.>", "_INBOX_admin.>", "sync.updates.>", "$KV.sync_ledger.other.*.*.*", "$KV.sync_ledger.>", "sync.ctl.portal.0", "$KV.>", ">"},
		brokerconfig.Gateway:   {"_INBOX.>", "_INBOX_publisher.>", "_INBOX_admin.>", "sync.updates.>", "$KV.sync_ledger.other.*.*.*", "$KV.>", ">"},
		brokerconfig.Worker:    {"_INBOX.>", "_INBOX_publisher.>", "_INBOX_gateway.>", "sync.updates.>", "sync.ctl.other.0", "$KV.>", ">"},
		brokerconfig.Admin:     {"_INBOX_publisher.>", "$SYS.>", ">"},
	}
	for _, role := range brokerconfig.Roles() {
		t.Run(string(role), func(t *testing.T) {
			var r broker.Refusals
			came := make(chan error, 1)
			nc, err := broker.Connect(t.Context(), g.nats(role), zerolog.Nop(),
				nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) { came <- r.Err() }), r.Watch())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			refuse := func(what, subject string, err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				if err := nc.Flush(); err != nil {
					t.Fatal(err)
				}
				select {
				case err := <-came:
					token := subject[:strings.LastIndexByte("."+subject, '.')]
					if !errors.Is(err, broker.ErrRefused) || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), token) {
						t.Errorf("%s %s: %v", what, subject, err)
					}
				case <-time.After(testkit.Patience):
					t.Errorf("%s %s is allowed", what, subject)
				}
			}
			for _, subject := range refused[role] {
				refuse("publish to", subject, nc.Publish(subject, nil))
			}
			for _, subject := range deaf[role] {
				sub, err := nc.SubscribeSync(subject)
				refuse("subscribe to", subject, err)
				_ = sub.Unsubscribe() // there is none
			}
		})
	}
}

// Without its key, or without a certificate, nobody gets in; a refused publish
// ends with what is missing and not with a timeout.
func TestRolesAreAskedFor(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal")
	for name, change := range map[string]func(*broker.Config){
		"no certificate": func(c *broker.Config) { c.TLS.CertFile, c.TLS.KeyFile = "", "" },
		"no key":         func(c *broker.Config) { c.NKeySeedFile = "" },
		"foreign key": func(c *broker.Config) {
			dir := t.TempDir()
			if _, err := brokerconfig.Keys(dir, brokerconfig.Roles()); err != nil {
				t.Fatal(err)
			}
			c.NKeySeedFile = filepath.Join(dir, "worker", "seed.nk")
		},
	} {
		c := g.nats(brokerconfig.Worker)
		change(&c)
		if nc, err := broker.Connect(t.Context(), c, zerolog.Nop()); !errors.Is(err, door.ErrConnect) {
			t.Errorf("%s: %v", name, err)
			nc.Close()
		}
	}
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, "http://127.0.0.1:9/"))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t) // cases is in no role
	e := g.program(brokerconfig.Publisher, "publisher", "push", "cases", "k", "1", "--data", "{}").run(t)
	if e.code != cli.ExitBroker || !strings.Contains(e.err, "the permission to publish to") || !strings.Contains(e.err, "SYNC_UPD_cases") {
		t.Errorf("exit code %d\n%s", e.code, e.err)
	}
}

func (s *site) read(path string) string {
	s.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

// resetKeyAndResync does what the owners of partitions do for administrators.
func resetKeyAndResync(t *testing.T, registry *channels.Registry) {
	t.Helper()
	if err := registry.ResetKey(t.Context(), "portal", "p-2"); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.StartResync(t.Context(), "portal", channels.Selection{}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the resync to be over", func() bool {
		s, err := registry.ResyncStatus(t.Context(), "portal")
		return err == nil && s.State == channels.ResyncDone
	})
}
