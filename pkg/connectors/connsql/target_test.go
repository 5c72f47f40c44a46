package connsql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // registers "pgx"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connsql"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// password is that of every login of these tests. It has what must be escaped in
// a URL and what a message must not show.
const password = `s3cr3t-/p@ss:w'ord%\`

// A target is a fresh database of one dialect.
type target struct {
	dialect string
	dsn     string  // for the connector, as a user who is no administrator; its password is a secret
	proxy   *proxy  // between the connector and the server; nil for a file
	admin   *sql.DB // one connection, which is open
	driver  string
	adminAt string
	user    string // of the DSN, as GRANT wants it; "" for a file
	// takeOver leaves the user no right but those that are granted on a table.
	takeOver []string
	versions string // the table of versions; "" if there is none
}

// sqlTargets returns how to make a target of each dialect.
func sqlTargets() map[string]func(testing.TB) *target {
	return map[string]func(testing.TB) *target{
		"postgres": postgresTarget, "mysql": mariadbTarget, "sqlite": sqliteTarget,
	}
}

func postgresTarget(t testing.TB) *target {
	t.Helper()
	admin := testdb.Postgres(t)
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	d := &target{dialect: "postgres", driver: "pgx", adminAt: admin, proxy: newProxy(t, u.Host)}
	d.openAdmin(t)
	d.user = "user_" + strings.TrimPrefix(u.Path, "/")
	d.exec(t, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", d.user, strings.ReplaceAll(password, "'", "''")))
	d.exec(t, "GRANT ALL ON SCHEMA public TO "+d.user)
	d.takeOver = []string{"REASSIGN OWNED BY " + d.user + " TO postgres"}
	u.Host, u.User = d.proxy.addr(), url.UserPassword(d.user, password)
	d.dsn = u.String()
	return d
}

func mariadbTarget(t testing.TB) *target {
	t.Helper()
	admin := testdb.MariaDB(t)
	cfg, err := mysql.ParseDSN(admin)
	if err != nil {
		t.Fatal(err)
	}
	d := &target{dialect: "mysql", driver: "mysql", adminAt: admin, proxy: newProxy(t, cfg.Addr)}
	d.openAdmin(t)
	name := "user_" + cfg.DBName
	d.user = name + "@'127.0.0.1'"
	d.exec(t, fmt.Sprintf("CREATE USER %s IDENTIFIED BY '%s'", d.user, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password)))
	d.exec(t, fmt.Sprintf("GRANT ALL ON %s.* TO %s", cfg.DBName, d.user))
	d.takeOver = []string{fmt.Sprintf("REVOKE ALL ON %s.* FROM %s", cfg.DBName, d.user)}
	cfg.User, cfg.Passwd, cfg.Addr = name, password, d.proxy.addr()
	d.dsn = cfg.FormatDSN()
	return d
}

func sqliteTarget(t testing.TB) *target {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a target?&%41.db")
	d := &target{dialect: "sqlite", driver: "sqlite", dsn: path}
	d.adminAt = "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_txlock=immediate"
	d.openAdmin(t)
	return d
}

func (d *target) openAdmin(t testing.TB) {
	t.Helper()
	d.admin = d.connect(t)
	t.Cleanup(func() {
		if err := d.admin.Close(); err != nil {
			t.Error(err)
		}
	})
}

// connect returns one more connection as the administrator.
func (d *target) connect(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.driver, d.adminAt)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

func (d *target) exec(t testing.TB, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute) // also in a Cleanup
	defer cancel()
	for _, s := range statements {
		if _, err := d.admin.ExecContext(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// count returns the one number that a query gives.
func (d *target) count(t testing.TB, query string, args ...any) int {
	t.Helper()
	var n int
	if err := d.admin.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// quote quotes a name.
func (d *target) quote(name string) string {
	if d.dialect == "mysql" {
		return "`" + name + "`"
	}
	return `"` + name + `"`
}

// param returns the mark of the first parameter.
func (d *target) param() string {
	if d.dialect == "postgres" {
		return "$1"
	}
	return "?"
}

// env is what a connector to this target is opened with: the password is a secret.
func (d *target) env() connectors.Env { return envOf(d.dsn) }

func envOf(dsn string) connectors.Env {
	_, password := split(dsn)
	return connectortest.Env(map[string]string{"PW": password})
}

// split returns a DSN with a reference in the place of its password, and the password.
func split(dsn string) (config, password string) {
	const ref = "${env:PW}"
	if u, err := url.Parse(dsn); err == nil && u.Scheme == "postgres" {
		password, ok := u.User.Password()
		if !ok {
			return dsn, ""
		}
		before, after, _ := strings.Cut(dsn, "@")
		return before[:strings.LastIndexByte(before, ':')+1] + ref + "@" + after, password
	}
	if before, after, ok := strings.Cut(dsn, "password='"); ok {
		password, rest, _ := strings.Cut(after, "'")
		return before + "password='" + ref + "'" + rest, password
	}
	if cfg, err := mysql.ParseDSN(dsn); err == nil && cfg.Passwd != "" {
		password, cfg.Passwd = cfg.Passwd, ref
		return cfg.FormatDSN(), password
	}
	return dsn, ""
}

// lines are a configuration with dialect and DSN, and with these lines besides.
func lines(dialect, dsn, config string) []byte {
	dsn, _ = split(dsn)
	text := fmt.Sprintf("dialect: %s\ndsn: %q\n", dialect, dsn)
	if dialect != "sqlite" {
		text += "allow_cidrs: [127.0.0.0/8]\n"
	}
	return []byte(text + config)
}

// open opens a connector with these lines of configuration besides the dialect
// and the DSN.
func (d *target) open(t testing.TB, config string) connectors.Connector {
	t.Helper()
	return d.openEnv(t, d.env(), d.dsn, config)
}

func (d *target) openEnv(t testing.TB, env connectors.Env, dsn, config string) connectors.Connector {
	t.Helper()
	c, err := connsql.Kind().Open(t.Context(), env, lines(d.dialect, dsn, config))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// openHere is open, and the connector is closed with the test.
func (d *target) openHere(t testing.TB, config string) connectors.Connector {
	t.Helper()
	c := d.open(t, config)
	closeHere(t, c)
	return c
}

func closeHere(t testing.TB, c connectors.Connector) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// held reads what the table holds of keys, on a way of its own.
func (d *target) held(t testing.TB, table string, keys ...string) map[string]connectors.Held {
	t.Helper()
	out := make(map[string]connectors.Held)
	query := func(table string) string {
		return fmt.Sprintf("SELECT version, version_nanos, digest, op FROM %s WHERE %s = %s", d.quote(table), d.quote("key"), d.param())
	}
	for _, key := range keys {
		var n int64
		var nanos int
		var digest, op string
		err := d.admin.QueryRowContext(t.Context(), query(table), key).Scan(&n, &nanos, &digest, &op)
		if errors.Is(err, sql.ErrNoRows) && d.versions != "" { // a row that was removed
			err = d.admin.QueryRowContext(t.Context(), query(d.versions)+" AND op = 'delete'", key).Scan(&n, &nanos, &digest, &op)
		}
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			t.Errorf("reading %q: %v", key, err)
			continue
		}
		h := connectors.Held{Op: events.Op(op)}
		if h.Version, err = versioning.Number(n); nanos >= 0 {
			h.Version, err = versioning.Time(time.Unix(n, int64(nanos)))
		}
		if err := errors.Join(err, h.Digest.UnmarshalText([]byte(digest))); err != nil {
			t.Errorf("reading %q: %v", key, err)
		}
		out[key] = h
	}
	return out
}

// attempt returns an attempt to write a JSON payload; an empty one is a delete.
func attempt(key string, version int64, payload string) connectors.Attempt {
	u := events.Update{Channel: connectortest.Channel, Key: key, Version: versioning.Must(versioning.Number(version)), Payload: []byte(payload)}
	if payload == "" {
		u.Op = events.Delete
	}
	u = u.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

// apply applies attempts within the time that the engine would give.
func apply(t testing.TB, c connectors.Connector, attempts ...connectors.Attempt) []connectors.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience) // each statement has connectortest.Timeout
	defer cancel()
	return c.Apply(ctx, attempts)
}

func want(t testing.TB, res connectors.Result, class connectors.Class, code string) {
	t.Helper()
	if res.Class != class || code != "" && res.Code != code {
		t.Errorf("class %s, code %q (%v); want class %s, code %q", res.Class, res.Code, res.Err, class, code)
	}
	if res.Err != nil && strings.Contains(res.Err.Error(), password) {
		t.Errorf("the error shows the password")
	}
}
