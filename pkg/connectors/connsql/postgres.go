package connsql

import (
	"context"
	"crypto/tls"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// postgres speaks to a PostgreSQL server, with the driver's own protocol: one
// round trip writes a batch, another one reads what was in the way of rows that
// were refused.
type postgres struct {
	pool   *pgxpool.Pool
	layout layout
	sql    statements
}

func openPostgres(p pool, l layout) (database, error) {
	cfg, err := pgxpool.ParseConfig(p.dsn.text)
	if err != nil {
		return nil, errPostgresDSN
	}
	switch cfg.ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol:
		return nil, errPostgresMode
	}
	cfg.MaxConns = int32(p.connections)
	cfg.MinConns = 0
	reach(&cfg.ConnConfig.Config, p)
	settings := cfg.ConnConfig.RuntimeParams
	settings["timezone"] = "UTC"
	settings["statement_timeout"] = milliseconds(p.timeout)
	settings["lock_timeout"] = milliseconds(p.lockTimeout())
	if settings["application_name"] == "" {
		settings["application_name"] = connectors.Clip("extsync/"+p.channel, mostIdentifier)
	}
	cfg.ConnConfig.ConnectTimeout = p.timeout
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg) // it connects when it is asked to
	if err != nil {
		return nil, errPostgresDSN
	}
	return &postgres{pool: pool, layout: l, sql: postgresStatements(l)}, nil
}

// reach has the driver connect as the channel may. It also takes a password, a client's
// certificate and the like from the environment and the home directory of the process:
// these are the process's own.
func reach(c *pgconn.Config, p pool) {
	c.Password = p.dsn.password(c.Password)
	c.DialFunc, c.LookupFunc = p.dialer.DialContext, p.dialer.LookupHost
	c.TLSConfig = postgresTLS(c.TLSConfig, c.Host, p.tls)
	for _, f := range c.Fallbacks {
		f.TLSConfig = postgresTLS(f.TLSConfig, f.Host, p.tls)
	}
}

func postgresTLS(c *tls.Config, host string, ours *tls.Config) *tls.Config {
	switch {
	case ours != nil && !strings.HasPrefix(host, "/"):
		return withServerName(ours, host)
	case c != nil:
		c.Certificates, c.GetClientCertificate = nil, nil
	}
	return c
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

func (p *postgres) statement(rows []row, again bool) (string, []any) {
	if again {
		return p.sql.rewrite, p.arrays(rows)
	}
	return p.sql.write, p.arrays(rows)
}

func (p *postgres) write(ctx context.Context, rows []row, again bool) (bool, error) {
	text, args := p.statement(rows, again)
	done, err := p.pool.Exec(ctx, text, args...)
	return done.RowsAffected() == int64(len(rows)), err
}

func identities(rows []row) (keys []string, versions []int64, nanos []int32) {
	keys, versions, nanos = make([]string, len(rows)), make([]int64, len(rows)), make([]int32, len(rows))
	for i, r := range rows {
		keys[i] = r.key
		versions[i], nanos[i] = versionColumns(r.tag.Version)
	}
	return keys, versions, nanos
}

func (p *postgres) held(ctx context.Context, rows []row) ([]holding, error) {
	keys, versions, nanos := identities(rows)
	if p.layout.mode == appendMode {
		return p.query(ctx, keys, p.sql.held, keys, versions, nanos)
	}
	return p.query(ctx, keys, p.sql.held, keys)
}

func (p *postgres) read(ctx context.Context, keys []string) ([]holding, error) {
	return p.query(ctx, keys, p.sql.read, keys)
}

func (p *postgres) query(ctx context.Context, keys []string, text string, args ...any) ([]holding, error) {
	found, err := p.pool.Query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	there := make(map[string]holding, len(keys))
	var key string
	var version *int64
	var nanos *int32
	var digest, op *string
	_, err = pgx.ForEachRow(found, []any{&key, &version, &nanos, &digest, &op}, func() error {
		there[key] = held(version, nanos, digest, op)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]holding, len(keys))
	for i, k := range keys {
		out[i] = there[k]
	}
	return out, nil
}

// errReadOnly says that the server takes no writes, as one does that has become
// a standby.
var errReadOnly = errors.New("the server takes no writes")

func (p *postgres) probe(ctx context.Context) error {
	var readOnly bool
	err := p.pool.QueryRow(ctx, "SELECT current_setting('transaction_read_only')::boolean").Scan(&readOnly)
	if err != nil {
		return err
	}
	if readOnly {
		return errReadOnly
	}
	// EXPLAIN finds the table, its columns, the unique index that the guard needs
	// and the permissions, and writes nothing.
	if _, err := p.pool.Exec(ctx, "EXPLAIN "+p.sql.write, p.arrays(nil)...); err != nil {
		return err
	}
	_, err = p.pool.Exec(ctx, "EXPLAIN "+p.sql.read, []string{})
	return err
}

func (p *postgres) create(ctx context.Context) error {
	_, err := p.pool.Exec(ctx, p.sql.create)
	return err
}

func (p *postgres) ddl() string { return p.sql.create }

func (p *postgres) close() error {
	p.pool.Close()
	return nil
}
