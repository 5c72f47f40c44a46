package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testdb"
)

// docs/outbox.md is followed from top to bottom, on databases of the test's own: SQL by the
// databases' own clients, as the users whom it grants rights, and relays with those rights.
func TestOutboxDocument(t *testing.T) {
	t.Parallel()
	r := &reader{t: t, bin: t.TempDir(), dir: t.TempDir(), env: []string{"PGPASSWORD=correct-horse"}}
	for _, name := range []string{"extsync", "publisher", "connector-worker"} {
		if err := os.Symlink(binary(t, name), filepath.Join(r.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	d := newOutboxDatabases(t, r)
	for _, b := range blocks(t, "docs/outbox.md") {
		if !t.Run(strings.ReplaceAll(b.at, "/", "_"), func(t *testing.T) { d.follow(t, b) }) {
			t.FailNow() // what comes later needs what was before
		}
	}
	for _, service := range r.services {
		service.signal(t, syscall.SIGTERM)
		if code := service.wait(t); code != cli.ExitOK {
			t.Errorf("exit code %d\n%s", code, service.stderr())
		}
	}
}

// outboxDatabases are the platforms of docs/outbox.md.
type outboxDatabases struct {
	*reader
	postgres, mysql string // host:port
	here            *strings.Replacer
}

func newOutboxDatabases(t *testing.T, r *reader) *outboxDatabases {
	t.Helper()
	postgres, mariadb := testdb.StartPostgres(t), testdb.StartMariaDB(t)
	for _, statement := range []string{"CREATE ROLE platform LOGIN PASSWORD 'correct-horse'", "CREATE ROLE relay LOGIN PASSWORD 'correct-horse'", "CREATE DATABASE platform OWNER platform"} {
		postgres.Exec(t, "", statement)
	}
	for _, statement := range []string{
		"CREATE DATABASE platform CHARACTER SET utf8mb4", "CREATE USER platform", "CREATE USER relay IDENTIFIED BY 'correct-horse'",
	} {
		mariadb.Exec(t, "", statement)
	}
	_, port, _ := strings.Cut(mariadb.Addr(), ":")
	return &outboxDatabases{
		reader: r, postgres: postgres.Addr(), mysql: mariadb.Addr(),
		// Other tests, and the developer, may have the usual ports.
		here: strings.NewReplacer("127.0.0.1:5432", postgres.Addr(), "127.0.0.1:3306", mariadb.Addr(), "--port 3306", "--port "+port,
			"extsync dev", "extsync dev --http-listen 127.0.0.1:0", "127.0.0.1:9465", "127.0.0.1:0"),
	}
}

func (d *outboxDatabases) follow(t *testing.T, b block) {
	b.text = d.here.Replace(b.text)
	plan, argument, _ := strings.Cut(b.plan, " ")
	switch plan {
	case "service":
		d.serve(t, b, strings.Trim(strings.TrimPrefix(argument, "until "), `"`))
	case "step":
		d.run(t, d.dir, "sh", "-euc", b.text)
	case "sql":
		d.sql(t, argument, b.text)
	case "python":
		d.run(t, d.dir, "python3", d.file(t, "platform.py", b.text))
	case "go":
		d.run(t, repository, "go", "run", d.file(t, "main.go", b.text))
	case "file":
		if err := os.WriteFile(filepath.Join(d.dir, argument), []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("nobody knows how to run a block with the plan %q", b.plan)
	}
}

func (d *outboxDatabases) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sql runs statements where the plan says: "DIALECT as USER", "sqlite", or "everywhere".
func (d *outboxDatabases) sql(t *testing.T, where, text string) {
	t.Helper()
	path := d.file(t, "statements.sql", text)
	dialect, user, _ := strings.Cut(where, " as ")
	switch dialect {
	case "everywhere": // by who owns the platform's tables
		d.sql(t, "postgres as platform", text)
		d.sql(t, "mysql as root", text+"GRANT ALL ON platform.policies TO platform;\n")
		d.sql(t, "sqlite", text)
	case "postgres":
		d.run(t, d.dir, "psql", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file", path, fmt.Sprintf("postgres://%s@%s/platform", user, d.postgres))
	case "mysql":
		host, port, _ := strings.Cut(d.mysql, ":")
		d.run(t, d.dir, "sh", "-c", `exec mariadb --no-defaults --host "$1" --port "$2" --user "$3" platform < "$4"`, "sh", host, port, user, path)
	case "sqlite":
		d.run(t, d.dir, "sh", "-c", `exec sqlite3 -bail -cmd ".timeout 60000" platform.db < "$1"`, "sh", path)
	default:
		t.Fatalf("nobody knows where to run SQL: %q", where)
	}
}
