package testdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// pgbouncer stands before a PostgreSQL server, in transaction mode.
type pgbouncer struct {
	program  string
	upstream string   // host:port
	settings []string // "name = value"
}

func (*pgbouncer) name() string       { return "PgBouncer" }
func (*pgbouncer) stopSignal() string { return "INT" }

func (b *pgbouncer) find() error {
	if b.program = lookup("pgbouncer"); b.program == "" {
		return errors.New("there is no PgBouncer on this machine: apt-get install pgbouncer")
	}
	return nil
}

func (*pgbouncer) initialise(s *Server) []string {
	return []string{"mkdir", filepath.Join(s.dir, "data")}
}

func (*pgbouncer) config(s *Server) string { return filepath.Join(s.dir, "data", "pgbouncer.ini") }

func (b *pgbouncer) configure(s *Server) error {
	host, port, err := net.SplitHostPort(b.upstream)
	if err != nil {
		return err
	}
	users := filepath.Join(s.dir, "data", "users.txt")
	if err := os.WriteFile(users, []byte(`"postgres" ""`+"\n"), 0o600); err != nil {
		return err
	}
	lines := append([]string{
		"[databases]", fmt.Sprintf("* = host=%s port=%s", host, port),
		"[pgbouncer]", "listen_addr = 127.0.0.1", "listen_port = " + strconv.Itoa(s.port), "unix_socket_dir =",
		"auth_type = trust", "auth_file = " + users, "pool_mode = transaction",
	}, b.settings...)
	return os.WriteFile(b.config(s), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (b *pgbouncer) serve(s *Server) []string { return []string{b.program, b.config(s)} }

func (b *pgbouncer) exec(ctx context.Context, s *Server, database, statement string) (err error) {
	cfg, err := pgx.ParseConfig(b.dsn(s, cmp.Or(database, "postgres")))
	if err != nil {
		return err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

func (b *pgbouncer) dsn(s *Server, database string) string { return (&postgres{}).dsn(s, database) }

// PgBouncer starts a PgBouncer of the test's own in transaction mode, with these lines of
// configuration besides, before the server of a PostgreSQL database as Postgres returns it.
// It returns the connection URL of that database by way of the pooler, which the test may
// stop and start. It ends with the test.
func PgBouncer(t testing.TB, dsn string, settings ...string) (pooler *Server, through string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	pooler = startOwn(t, &pgbouncer{upstream: u.Host, settings: settings})
	u.Host = pooler.Addr()
	return pooler, u.String()
}
