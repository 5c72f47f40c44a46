package connsql_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connsql"
)

// checkUnusable opens a connector that must not get through, and looks at all
// that it says.
func checkUnusable(t *testing.T, d *target, dsn, config string, class connectors.Class, code string) {
	t.Helper()
	env := envOf(dsn)
	env.Timeout = 2 * time.Second
	c := d.openEnv(t, env, dsn, config)
	closeHere(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	want(t, c.Apply(ctx, []connectors.Attempt{attempt("k", 1, `{}`)})[0], class, code)
	err := c.(connectors.Prober).Probe(ctx)
	if err == nil || connectors.ClassOf(err) != class {
		t.Errorf("Probe gave %v (%s), want %s", err, connectors.ClassOf(err), class)
	}
	_, readErr := c.(connectors.Reader).Read(ctx, []string{"k"})
	if readErr == nil || connectors.ClassOf(readErr) != class {
		t.Errorf("Read gave %v (%s), want %s", readErr, connectors.ClassOf(readErr), class)
	}
	for _, err := range []error{err, readErr} {
		for e := err; e != nil; e = errors.Unwrap(e) {
			if text := fmt.Sprintf("%v %+v", e, e); strings.Contains(text, password) || strings.Contains(text, "wrong-canary") || strings.Contains(text, "\n") {
				t.Errorf("an error shows the password, or has two lines: %q", text)
			}
		}
	}
}

func TestPostgresThatDoesNotLetIn(t *testing.T) {
	d := postgresTarget(t)
	good, err := url.Parse(d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	change := func(how func(u *url.URL)) string {
		u := *good
		how(&u)
		return u.String()
	}
	option := func(name, value string) func(u *url.URL) {
		return func(u *url.URL) {
			q := u.Query()
			q.Set(name, value)
			u.RawQuery = q.Encode()
		}
	}
	d.exec(t, "CREATE ROLE full_house LOGIN CONNECTION LIMIT 0 PASSWORD 'wrong-canary'")
	t.Cleanup(func() { d.exec(t, "DROP ROLE full_house") })
	for name, c := range map[string]struct {
		dsn   string
		class connectors.Class
		code  string
	}{
		"wrong password": {change(func(u *url.URL) { u.User = url.UserPassword(d.user, "wrong-canary") }), connectors.Misconfigured, "28P01"},
		"no such user":   {change(func(u *url.URL) { u.User = url.UserPassword("nobody", "wrong-canary") }), connectors.Misconfigured, "28P01"},
		"no database":    {change(func(u *url.URL) { u.Path = "/nowhere" }), connectors.Misconfigured, "3D000"},
		"full":           {change(func(u *url.URL) { u.User = url.UserPassword("full_house", "wrong-canary") }), connectors.Throttled, "53300"},
		"not trusted":    {change(option("sslmode", "verify-full")), connectors.Misconfigured, "tls_verify"},
		"refused":        {change(func(u *url.URL) { u.Host = closedPort(t) }), connectors.Transient, "refused"},
		"no such host":   {change(func(u *url.URL) { u.Host = "db.invalid:5432" }), connectors.Transient, ""},
		"no such socket": {"host=" + t.TempDir() + " password='wrong-canary'", connectors.Transient, "refused"},
	} {
		t.Run(name, func(t *testing.T) { checkUnusable(t, d, c.dsn, "", c.class, c.code) })
	}
}

func TestMariaDBThatDoesNotLetIn(t *testing.T) {
	d := mariadbTarget(t)
	change := func(how func(c *mysql.Config)) string {
		c, err := mysql.ParseDSN(d.dsn)
		if err != nil {
			t.Fatal(err)
		}
		how(c)
		return c.FormatDSN()
	}
	d.exec(t, "CREATE USER full_house@'127.0.0.1' IDENTIFIED BY 'wrong-canary' WITH MAX_QUERIES_PER_HOUR 1", "GRANT ALL ON *.* TO full_house@'127.0.0.1'")
	t.Cleanup(func() { d.exec(t, "DROP USER full_house@'127.0.0.1'") })
	for name, c := range map[string]struct {
		dsn   string
		class connectors.Class
		code  string
	}{
		"wrong password": {change(func(c *mysql.Config) { c.Passwd = "wrong-canary" }), connectors.Misconfigured, "1045"},
		"no database":    {change(func(c *mysql.Config) { c.DBName = "nowhere" }), connectors.Misconfigured, "1044"},
		"full":           {change(func(c *mysql.Config) { c.User, c.Passwd = "full_house", "wrong-canary" }), connectors.Throttled, "1226"},
		"not trusted":    {change(func(c *mysql.Config) { c.TLSConfig = "true" }), connectors.Misconfigured, "tls_verify"},
		"refused":        {change(func(c *mysql.Config) { c.Addr = closedPort(t) }), connectors.Transient, "refused"},
		"no such host":   {change(func(c *mysql.Config) { c.Addr = "db.invalid:3306" }), connectors.Transient, ""},
	} {
		t.Run(name, func(t *testing.T) { checkUnusable(t, d, c.dsn, "", c.class, c.code) })
	}
}

func TestSQLiteThatDoesNotLetIn(t *testing.T) {
	d := sqliteTarget(t)
	dir := t.TempDir()
	noDatabase := filepath.Join(dir, "text")
	if err := os.WriteFile(noDatabase, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, config string }{
		"missing file": {filepath.Join(dir, "missing.db"), ""},
		"folder":       {dir, "auto_create: true\n"},
		"other file":   {noDatabase, ""},
	} {
		t.Run(name, func(t *testing.T) { checkUnusable(t, d, c.path, c.config, connectors.Misconfigured, "") })
	}
	missing := filepath.Join(dir, "missing", "x.db")
	if _, err := connsql.Kind().Open(t.Context(), d.env(), lines("sqlite", missing, "auto_create: true\n")); connectors.ClassOf(err) != connectors.Misconfigured {
		t.Errorf("a missing folder: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "missing.db")); !os.IsNotExist(err) {
		t.Errorf("the missing file was created: %v", err)
	}
}

func TestOpenRefusesWhatCannotWork(t *testing.T) {
	d := postgresTarget(t)
	for name, dsn := range map[string]string{
		"unreadable": "postgres://u:" + url.QueryEscape(password) + "@h:port/d", "empty": "postgres://h/d?sslmode=" + url.QueryEscape(password),
		// Every write would fail with them, as if for a moment.
		"no arrays": "postgres://h/d?default_query_exec_mode=exec", "no arrays either": "postgres://h/d?default_query_exec_mode=simple_protocol",
	} {
		_, err := kindOpen(t, d.env(), fmt.Sprintf("dialect: postgres\ndsn: %q\n", dsn))
		if connectors.ClassOf(err) != connectors.Misconfigured || err == nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), url.QueryEscape(password)) {
			t.Errorf("%s: the error shows the password", name)
		}
	}
	if _, err := kindOpen(t, d.env(), "dialect: postgres\ndsn: postgres://u:${env:NOT_THERE}@h/d\n"); !errors.Is(err, connectors.ErrSecret) {
		t.Errorf("a missing secret gives %v", err)
	}
	if _, err := kindOpen(t, d.env(), "dialect: nonsense\n"); connectors.ClassOf(err) != connectors.Misconfigured || !errors.Is(err, connectors.ErrConfig) {
		t.Errorf("a bad configuration gives %v", err)
	}
}

// A password with every character that has a meaning somewhere gets in when it
// is referred to from within a DSN.
func TestPasswordWithinADSN(t *testing.T) {
	postgres, mariadb := postgresTarget(t), mariadbTarget(t)
	u, err := url.Parse(postgres.dsn)
	if err != nil {
		t.Fatal(err)
	}
	c, err := mysql.ParseDSN(mariadb.dsn)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]string{
		"postgres URL":      fmt.Sprintf("dialect: postgres\ndsn: postgres://%s:${env:PW}@%s%s?sslmode=disable\n", postgres.user, u.Host, u.Path),
		"postgres keywords": fmt.Sprintf("dialect: postgres\ndsn: host=%s port=%s user=%s dbname=%s sslmode=disable password='${env:PW}'\n", host, port, postgres.user, u.Path[1:]),
		"mysql":             fmt.Sprintf("dialect: mysql\ndsn: %s:${env:PW}@tcp(%s)/%s\n", c.User, c.Addr, c.DBName),
	} {
		t.Run(name, func(t *testing.T) {
			env := connectortest.Env(map[string]string{"PW": password})
			c, err := kindOpen(t, env, config+"auto_create: true\nallow_cidrs: [127.0.0.0/8]\n")
			if err != nil {
				t.Fatal(err)
			}
			closeHere(t, c)
			want(t, apply(t, c, attempt("k", 1, `{}`))[0], connectors.OK, "")
		})
	}
}

func TestTLS(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		s := testdb.StartPostgres(t)
		dsn := s.CreateDatabase(t)
		d := &target{dialect: "postgres", dsn: strings.Replace(dsn, "sslmode=disable", "", 1)}
		c := d.openHere(t, "auto_create: true\ntls: {ca: '${file:"+readable(t, s)+"}'}\n")
		want(t, apply(t, c, attempt("k", 1, `{}`))[0], connectors.OK, "")
	})
	t.Run("mysql", func(t *testing.T) {
		t.Parallel()
		s := testdb.StartMariaDB(t)
		dsn := s.CreateDatabase(t)
		s.Exec(t, "", "CREATE USER tls@'127.0.0.1' REQUIRE SSL")
		s.Exec(t, "", "GRANT ALL ON *.* TO tls@'127.0.0.1'")
		d := &target{dialect: "mysql", dsn: strings.Replace(dsn, "root@", "tls@", 1)}
		c := d.openHere(t, "auto_create: true\ntls: {ca: '${file:"+readable(t, s)+"}'}\n")
		want(t, apply(t, c, attempt("k", 1, `{}`))[0], connectors.OK, "")
		plain := d.openHere(t, "")
		want(t, apply(t, plain, attempt("k", 2, `{}`))[0], connectors.Misconfigured, "1045")
		for name, file := range map[string]string{"missing": "/nowhere/ca.pem", "empty": os.DevNull} {
			if _, err := connsql.Kind().Open(t.Context(), d.env(), lines("mysql", d.dsn, "tls: {ca: '${file:"+file+"}'}\n")); err == nil {
				t.Errorf("%s: an authority that cannot be read is no error", name)
			}
		}
	})
}

// readable copies the server's authority to where only the test needs to read.
func readable(t *testing.T, s *testdb.Server) string {
	t.Helper()
	data, err := os.ReadFile(s.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A server that is killed loses nothing that was confirmed, and the connector
// finds it again by itself.
func TestServerIsKilled(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *testdb.Server{"postgres": testdb.StartPostgres, "mysql": testdb.StartMariaDB} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			d := &target{dialect: name, dsn: s.CreateDatabase(t)}
			c := d.openHere(t, "auto_create: true\n")
			before := attempt("before", 1, `{}`)
			want(t, apply(t, c, before)[0], connectors.OK, "")
			s.Stop(t)
			for range 3 {
				want(t, apply(t, c, attempt("during", 1, `{}`))[0], connectors.Transient, "")
			}
			if err := c.(connectors.Prober).Probe(t.Context()); err == nil || connectors.ClassOf(err) != connectors.Transient {
				t.Errorf("Probe gave %v", err)
			}
			s.Start(t)
			want(t, settle(t, c, attempt("after", 1, `{}`)), connectors.OK, "")
			held, err := c.(connectors.Reader).Read(t.Context(), []string{before.Key})
			if err != nil || held[0].Digest != before.Digest {
				t.Errorf("Read gave %v, %v", held, err)
			}
		})
	}
}

// settle tries until the answer is not transient: each connection of the pool
// may have to find out by itself that it is dead.
func settle(t *testing.T, c connectors.Connector, a connectors.Attempt) connectors.Result {
	t.Helper()
	var res connectors.Result
	for range 20 {
		if res = apply(t, c, a)[0]; res.Class != connectors.Transient {
			break
		}
	}
	return res
}

// A server that has become a standby takes no writes: that passes.
func TestPostgresThatIsReadOnly(t *testing.T) {
	d := postgresTarget(t)
	c := d.openHere(t, "auto_create: true\n")
	want(t, apply(t, c, attempt("k", 1, `{}`))[0], connectors.OK, "")
	d.exec(t, "ALTER ROLE "+d.user+" SET default_transaction_read_only = on")
	standby := d.openHere(t, "")
	want(t, apply(t, standby, attempt("k", 2, `{}`))[0], connectors.Transient, "25006")
	if err := standby.(connectors.Prober).Probe(t.Context()); err == nil || connectors.ClassOf(err) != connectors.Transient {
		t.Errorf("Probe gave %v", err)
	}
	d.exec(t, "ALTER ROLE "+d.user+" RESET default_transaction_read_only")
	want(t, settle(t, standby, attempt("k", 2, `{}`)), connectors.OK, "")
}

func closedPort(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // that is the point
	return l.Addr().String()
}

func kindOpen(t *testing.T, env connectors.Env, config string) (connectors.Connector, error) {
	t.Helper()
	return connsql.Kind().Open(t.Context(), env, []byte(config))
}
