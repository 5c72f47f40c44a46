package connsql_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connsql"
)

// SQLite writes three files beside the database, and follows links to where they lead.
func TestSQLiteStaysInItsDirectory(t *testing.T) {
	dir := t.TempDir()
	data, outside := filepath.Join(dir, "data"), filepath.Join(dir, "outside")
	testkit.Must(t, os.Mkdir(data, 0o700))
	testkit.Must(t, os.Mkdir(outside, 0o700))
	env := connectors.Host{Allow: connectors.Allow{Grant: connectors.Grant{Databases: connectors.List{data}}}}.Env("erp")
	open := func(dsn string) error {
		conn, err := connsql.Kind().Open(t.Context(), env, lines("sqlite", dsn, "auto_create: true\n"))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(t.Context()) }()
		return apply(t, conn, attempt("k", 1, "{}"))[0].Err
	}
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		path := filepath.Join(data, "linked"+suffix+".db")
		testkit.Must(t, os.Symlink(filepath.Join(outside, "planted"+suffix), path+suffix))
		if err := open(path); connectors.ClassOf(err) != connectors.Misconfigured {
			t.Errorf("a link in the place of the file %q: %v", suffix, err)
		}
	}
	for _, dsn := range []string{
		filepath.Join(outside, "x.db"), data + "/../outside/x.db", "file:" + outside + "/x.db", "file://" + outside + "/x.db?vfs=unix-none", "x.db", data,
	} {
		if err := open(dsn); connectors.ClassOf(err) != connectors.Misconfigured {
			t.Errorf("%s: %v", dsn, err)
		}
	}
	// What has a meaning in a URI is a part of the name.
	if err := open(filepath.Join(data, "x.db?vfs=unix-none&mode=memory#%2e%2e%2f")); err != nil {
		t.Error(err)
	}
	if found, err := os.ReadDir(outside); err != nil || len(found) != 0 {
		t.Errorf("outside: %v, %v", found, err)
	}
}

// Databases were reached in every network, whatever the guard of HTTP targets said.
func TestDatabasesAreBehindTheGuard(t *testing.T) {
	for name, config := range map[string]struct{ dialect, dsn string }{
		"postgres": {"postgres", "postgres://u@127.0.0.1:1/d"}, "mysql": {"mysql", "u@tcp(127.0.0.1:1)/d"},
		"metadata": {"mysql", "u@tcp(169.254.169.254:80)/d"}, "mapped": {"postgres", "postgres://u@[::ffff:127.0.0.1]:1/d"},
		"another protocol": {"mysql", "u@udp(127.0.0.1:1)/d"}, "packets": {"mysql", "u@unixpacket(/tmp/s)/d"},
	} {
		t.Run(name, func(t *testing.T) {
			text := "dialect: " + config.dialect + "\ndsn: '" + config.dsn + "'\n"
			conn, err := connsql.Kind().Open(t.Context(), connectortest.Env(nil), []byte(text)) // which allows loopback, but is not asked to
			testkit.Must(t, err)
			defer func() { _ = conn.Close(t.Context()) }()
			res := apply(t, conn, attempt("k", 1, "{}"))[0]
			want(t, res, connectors.Misconfigured, "address_denied")
			if !strings.Contains(res.Err.Error(), "not allowed") {
				t.Error(res.Err)
			}
		})
	}
}
