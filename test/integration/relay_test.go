package integration

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// A platform is a database with an outbox.
type platform struct {
	t       *testing.T
	db      *sql.DB
	dialect outbox.Dialect
}

// newPlatform makes an outbox in a database.
func newPlatform(t *testing.T, d outbox.Dialect, driver, dsn string) *platform {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, db.Close()) })
	ddl, err := outbox.DDL(d)
	testkit.Must(t, err)
	_, err = db.ExecContext(t.Context(), ddl)
	testkit.Must(t, err)
	return &platform{t, db, d}
}

// put commits updates, one transaction for all.
func (p *platform) put(updates ...events.Update) {
	p.t.Helper()
	tx, err := p.db.BeginTx(p.t.Context(), nil)
	testkit.Must(p.t, err)
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for _, u := range updates {
		testkit.Must(p.t, outbox.Put(p.t.Context(), outbox.SQL(tx, p.dialect), u))
	}
	testkit.Must(p.t, tx.Commit())
}

// of returns a version of a key, with no more than an outbox keeps.
func of(r events.Route, key string, version int64) events.Update {
	return events.Update{Channel: r.Channel(), Topic: r.Topic(), Key: key, Version: testkit.Number(version), Payload: fmt.Appendf(nil, `{"version":%d}`, version)}
}

// rows counts the rows of a target.
func (p *platform) rows(target string) (n int) {
	p.t.Helper()
	testkit.Must(p.t, p.db.QueryRowContext(context.WithoutCancel(p.t.Context()), "SELECT count(*) FROM extsync_outbox WHERE target = '"+target+"'").Scan(&n))
	return n
}

const relayedChannels = `
topics:
  - name: policies
  - name: secrets
channels:
  - name: portal
    connector: {kind: http, config: {url: https://target.example/in}}
  - name: cases
    mode: every
    connector: {kind: http, config: {url: https://target.example/in}}
`

// A relay needs the rights of a publisher, and no others: in that role, or in a group of its
// own, it publishes to what it was given, and says of the rest which permission it lacks.
func TestRelayInTheRoleOfAPublisher(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal,cases", "--topics", "policies", "--group", "mine:portal,cases,topics/policies")
	file := g.site.file("channels.yaml", relayedChannels)
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	for version, role := range []brokerconfig.Role{brokerconfig.Publisher, groupRole} {
		path := filepath.Join(t.TempDir(), "platform.db")
		p := newPlatform(t, outbox.SQLite, "sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(60000)")
		settings := []string{"--relay-dialect", "sqlite", "--relay-dsn", path}
		var all []events.Update
		for _, route := range []events.Route{events.ToChannel("portal"), events.ToChannel("cases"), events.ToTopic("policies"), events.ToTopic("secrets"), events.ToTopic("made-up")} {
			all = append(all, of(route, "k", int64(version+1)))
		}
		p.put(append(all, all[:3]...)...) // what comes twice is recognised
		relay, scraped := g.serving(role, scrapedAt, "publisher", append([]string{"relay", "--telemetry-listen", "127.0.0.1:0"}, settings...)...)
		for _, target := range []string{"portal", "cases", "topics/policies"} {
			testkit.Eventually(t, "the rows for "+target+" to be published", func() bool { return p.rows(target) == 0 })
		}
		g.unready(scraped, "secrets")
		if p.rows("topics/secrets") != 1 {
			t.Errorf("%s: the row that may not be published is gone", role)
		}
		e := g.program(role, "extsync", append([]string{"outbox", "status"}, settings...)...).run(t)
		if e.code != cli.ExitOK || !strings.Contains(e.out, "topics/secrets") || !strings.Contains(e.out, "not the permission to publish") || !strings.Contains(e.out, "topic not found: made-up") {
			t.Errorf("%s: status: exit code %d\n%s%s", role, e.code, e.out, e.err)
		}
		for _, want := range []string{
			`extsync_relay_rows_total{result="duplicate",target="topics/policies"} 1`,
			`extsync_relay_held{reason="permission",target="topics/secrets"} 1`,
			`extsync_relay_held{reason="unknown_topic",target="topics/made-up"} 1`, // and not tried: no role has permissions for it
		} {
			testkit.Eventually(t, want, func() bool { return strings.Contains(g.ask(http.MethodGet, scraped+"/metrics", "").body, want) })
		}
		g.end(relay, "secrets")
	}
}

// Through a pooler that gives each transaction another connection, a relay works by the
// clock.
func TestRelayThroughPgBouncer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.channel("erp", channels.Latest, "http", map[string]any{"url": "https://target.example/in"})
	dsn := testdb.Postgres(t)
	p := newPlatform(t, outbox.Postgres, "pgx", dsn)
	_, through := testdb.PgBouncer(t, dsn, "default_pool_size = 2")
	relay := program{name: "publisher", args: []string{"relay", "--relay-dialect", "postgres", "--relay-dsn", through}, env: []string{"EXTSYNC_NATS_URL=" + r.url}}.start(t)
	testkit.Eventually(t, "the relay to notice", func() bool { return strings.Contains(relay.stderr(), "notifications do not come through") })
	for version := int64(1); version <= 3; version++ {
		for key := range 50 {
			p.put(of(events.ToChannel("erp"), "k"+strconv.Itoa(key%10), version*1000+int64(key)))
		}
		testkit.Eventually(t, "the rows to be published", func() bool { return p.rows("erp") == 0 })
	}
	relay.signal(t, syscall.SIGTERM)
	if code := relay.wait(t); code != cli.ExitOK {
		t.Errorf("exit code %d\n%s", code, relay.stderr())
	}
	if strings.Contains(relay.stderr(), `"level":"error"`) {
		t.Errorf("it was refused something:\n%s", relay.stderr())
	}
}

// A broker that was restored gives sequences again that others have had. A relay that runs
// says so, and goes on with a publisher that remembers nothing.
func TestRelayGoesOnAfterTheBrokerWasRestored(t *testing.T) {
	t.Parallel()
	r := newRigAt(t, faults.NewCrew(t), natstest.Run(t, natstest.Options{TCP: true}).URL(), 1) // nobody else's
	r.channel("erp", channels.Latest, "http", map[string]any{"url": "https://target.example/in"})
	path := filepath.Join(t.TempDir(), "platform.db")
	p := newPlatform(t, outbox.SQLite, "sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(60000)")
	env := []string{"EXTSYNC_NATS_URL=" + r.url}
	relay := program{name: "publisher", args: []string{"relay", "--relay-dialect", "sqlite", "--relay-dsn", path}, env: env}.start(t)
	published := func() bool { return p.rows("erp") == 0 }
	p.put(of(events.ToChannel("erp"), "k", 1))
	testkit.Eventually(t, "the row to be published", published)
	program{name: "extsync", args: []string{"recover", "--yes"}, env: env}.ok(t)
	version := int64(1)
	testkit.Eventually(t, "the relay to notice, which looks once a second while it publishes", func() bool {
		version++
		p.put(of(events.ToChannel("erp"), "k", version))
		return strings.Contains(relay.stderr(), "the broker was restored")
	})
	testkit.Eventually(t, "the other rows to be published", published)
	relay.signal(t, syscall.SIGTERM)
	if code := relay.wait(t); code != cli.ExitOK || strings.Count(relay.stderr(), "relay started") != 2 || !strings.Contains(relay.stderr(), "the broker was restored") {
		t.Errorf("exit code %d\n%s", code, relay.stderr())
	}
}
