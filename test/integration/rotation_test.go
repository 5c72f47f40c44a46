package integration

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
)

// The procedures of docs/operations.md by which each secret is replaced.

// reload has the server read its configuration, as 'nats-server --signal reload'
// does.
func (g *guarded) reload() {
	g.t.Helper()
	opts, err := server.ProcessConfigFile(filepath.Join(g.dir, "server", "nats.conf"))
	if err != nil {
		g.t.Fatal(err)
	}
	opts.NoLog, opts.NoSigs = true, true
	if err := g.srv.ReloadOptions(opts); err != nil {
		g.t.Fatal(err)
	}
}

// restart ends the server and starts one with the configuration that is there.
func (g *guarded) restart() {
	g.t.Helper()
	g.srv.Shutdown()
	g.srv.WaitForShutdown()
	opts, err := server.ProcessConfigFile(filepath.Join(g.dir, "server", "nats.conf"))
	if err != nil {
		g.t.Fatal(err)
	}
	opts.NoLog, opts.NoSigs = true, true
	if g.srv, err = server.NewServer(opts); err != nil {
		g.t.Fatal(err)
	}
	g.srv.Start()
	g.t.Cleanup(func() { g.srv.Shutdown(); g.srv.WaitForShutdown() })
	if !g.srv.ReadyForConnections(testkit.Patience) {
		g.t.Fatal("the server does not take connections")
	}
}

// delivers pushes the next version of a key and waits until the workers that run
// have delivered it.
func (g *guarded) delivers(version int) {
	g.t.Helper()
	g.program(brokerconfig.Publisher, "publisher", "push", "portal", "k", fmt.Sprint(version), "--data", fmt.Sprint(version), "--wait", "30s").ok(g.t)
}

func (g *guarded) rename(from, to string) {
	g.t.Helper()
	if err := os.Rename(filepath.Join(g.dir, from), filepath.Join(g.dir, to)); err != nil {
		g.t.Fatal(err)
	}
}

// The key of a role: both are valid while its processes change over.
func TestRotateTheKeyOfARole(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal,cases")
	url := target(t, func(http.ResponseWriter, *http.Request) {})
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, url))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	before := g.program(brokerconfig.Worker, "connector-worker", "run").start(t)
	g.delivers(1)

	const seed, old = "worker/seed.nk", "worker/seed.old.nk"
	g.rename(seed, old)
	if out := extsync(g.flags...).ok(t); !strings.Contains(out, "worker: the old key is still valid") {
		t.Errorf("broker-config:\n%s", out)
	}
	g.reload()
	g.delivers(2) // by the worker with the old key
	after := g.program(brokerconfig.Worker, "connector-worker", "run").start(t)
	stop(t, before)
	g.delivers(3) // by the one with the new key

	g.rename(old, "gone.nk")
	extsync(g.flags...).ok(t)
	g.reload()
	stale := g.nats(brokerconfig.Worker)
	stale.NKeySeedFile = filepath.Join(g.dir, "gone.nk")
	if nc, err := broker.Connect(t.Context(), stale, zerolog.Nop()); err == nil {
		nc.Close()
		t.Error("a key that is no longer in the configuration is let in")
	}
	g.delivers(4)
	stop(t, after)
	for _, w := range []*process{before, after} {
		if strings.Contains(w.stderr(), "uthorization") {
			t.Errorf("a worker was cut off:\n%s", w.stderr())
		}
	}
}

// The authority, and with it every certificate: old and new are trusted while
// they are exchanged. No process is restarted.
func TestRotateTheAuthorityAndItsCertificates(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal,cases")
	url := target(t, func(http.ResponseWriter, *http.Request) {})
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, url))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	g.program(brokerconfig.Worker, "connector-worker", "run").start(t)
	g.delivers(1)

	next := t.TempDir()
	extsync("broker-config", "--out", next, "--channels", "portal", "--certificates").ok(t)
	places := []string{"server", "publisher", "gateway", "worker", "admin"}
	read := func(dir, place, name string) string { return g.site.read(filepath.Join(dir, place, name)) }
	write := func(place, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(g.dir, place, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range places { // trust both
		write(p, "ca.crt", read(g.dir, p, "ca.crt")+read(next, p, "ca.crt"))
	}
	g.reload()
	g.delivers(2)
	for _, p := range places { // show the new ones
		write(p, "tls.crt", read(next, p, "tls.crt"))
		write(p, "tls.key", read(next, p, "tls.key"))
	}
	g.reload()
	g.delivers(3)
	for _, p := range places { // forget the old one
		write(p, "ca.crt", read(next, p, "ca.crt"))
	}
	g.reload()
	g.restart() // every client has to come again
	g.delivers(4)
}

// The secret that signs webhooks: the channel has both while the target learns
// the new one. Every request can be verified with a secret that is valid.
func TestRotateTheSecretOfSignatures(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var mu sync.Mutex
	var signatures []string
	url := target(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		signatures = append(signatures, r.Header.Get("webhook-signature"))
	})
	apply := func(secrets ...string) {
		t.Helper()
		s.extsync("channels", "apply", "-f", s.file("channels.yaml", fmt.Sprintf(`
channels:
  - name: portal
    connector: {kind: http, config: {url: %q, allow_cidrs: [127.0.0.0/8], signing: {secrets: [%s]}}}
`, url, strings.Join(secrets, ", ")))).ok(t)
	}
	secret := func(name string) string {
		sum := sha256.Sum256([]byte(name))
		return fmt.Sprintf("%q", "${file:"+s.file(name, "whsec_"+base64.StdEncoding.EncodeToString(sum[:]))+"}")
	}
	old, fresh := secret("old"), secret("new")
	apply(old)
	s.worker()
	for version, secrets := range [][]string{{old}, {fresh, old}, {fresh}} {
		apply(secrets...)
		s.extsync("push", "portal", "k", fmt.Sprint(version+1), "--data", "{}", "--wait", "30s").ok(t)
		mu.Lock()
		if got := strings.Fields(signatures[len(signatures)-1]); len(got) != len(secrets) {
			t.Errorf("with %d secrets: %d signatures", len(secrets), len(got))
		}
		mu.Unlock()
	}
}

// The password of a database, which knows one at a time: whoever connects in
// between is refused and the channel waits. No update is given up.
func TestRotateThePasswordOfADatabase(t *testing.T) {
	t.Parallel()
	db := testdb.StartMariaDB(t)
	s := newSite(t)
	for _, statement := range []string{
		"CREATE DATABASE erp", "CREATE USER sync@'%' IDENTIFIED BY 'old-password'", "GRANT ALL ON erp.* TO sync@'%'",
	} {
		db.Exec(t, "", statement)
	}
	secret := s.file("password", "old-password")
	s.extsync("channels", "apply", "-f", s.file("channels.yaml", fmt.Sprintf(`
channels:
  - name: erp
    connector: {kind: sql, config: {dialect: mysql, dsn: "sync:${file:%s}@tcp(%s)/erp", auto_create: true, allow_cidrs: [127.0.0.0/8]}}
`, secret, db.Addr()))).ok(t)
	worker := s.worker()
	push := func(version int, wait string) ended {
		return s.extsync("push", "erp", "k", fmt.Sprint(version), "--data", fmt.Sprint(version), "--wait", wait).run(t)
	}
	if e := push(1, "30s"); e.code != 0 {
		t.Fatalf("version 1 is not delivered before the password changes: %+v", e)
	}
	db.Exec(t, "", "ALTER USER sync@'%' IDENTIFIED BY 'new-password'")
	db.Exec(t, "", "KILL USER sync") // its connections would go on
	if e := push(2, "1s"); e.code != cli.ExitNoAck {
		t.Errorf("with the old password: %+v", e)
	}
	testkit.Eventually(t, "the channel is blocked", func() bool {
		var doc statusDoc
		s.extsync("status", "erp", "--json", "--interval", "200ms").decode(t, &doc)
		return doc.Channels[0].Circuit == "blocked"
	})
	s.file("password", "new-password") // the worker that runs reads it again
	s.extsync("wait", "erp", "k@2", "--timeout", "30s").ok(t)
	if letters := s.letters("--state", "any").Entries; len(letters) != 0 {
		t.Errorf("an update was given up: %+v", letters)
	}
	for _, text := range []string{worker.stderr(), s.extsync("channels", "show", "erp").ok(t), s.extsync("audit-log", "--json").ok(t)} {
		if strings.Contains(text, "old-password") || strings.Contains(text, "new-password") {
			t.Errorf("it shows a password:\n%s", text)
		}
	}
}
