package connsql

import (
	"context"
	"crypto/tls"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
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
	kept   atomic.Pointer[plan]
	// limits of a statement's time and of its wait for a lock, in milliseconds.
	limits [2]string
	// pooled: the connections are those of a pooler, see postgres_pooler.go.
	pooled atomic.Bool
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
	if settings["application_name"] == "" {
		settings["application_name"] = connectors.Clip("extsync/"+p.channel, mostIdentifier)
	}
	cfg.ConnConfig.ConnectTimeout = p.timeout
	out := &postgres{layout: l, limits: [2]string{milliseconds(p.timeout), milliseconds(p.lockTimeout())}}
	out.pooled.Store(p.pooler)
	cfg.BeforeConnect = out.beforeConnect
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg) // it connects when it is asked to
	if err != nil {
		return nil, errPostgresDSN
	}
	out.pool = pool
	return out, nil
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

func (p *postgres) statement(made *plan, rows []row, again bool) (string, []any) {
	if again {
		return made.sql.rewrite, p.arrays(rows)
	}
	return made.sql.write, p.arrays(rows)
}

func (p *postgres) write(ctx context.Context, made *plan, rows []row, again bool) (bool, error) {
	if p.layout.versions != "" {
		return p.writeNoted(ctx, made, rows, again)
	}
	text, args := p.statement(made, rows, again)
	stored, err := p.exec(ctx, text, args...)
	return stored == int64(len(rows)), err
}

func identities(rows []row) (keys []string, versions []int64, nanos []int32) {
	keys, versions, nanos = make([]string, len(rows)), make([]int64, len(rows)), make([]int32, len(rows))
	for i, r := range rows {
		keys[i] = r.key
		versions[i], nanos[i] = versionColumns(r.tag.Version)
	}
	return keys, versions, nanos
}

func (p *postgres) held(ctx context.Context, made *plan, rows []row) ([]holding, error) {
	keys, versions, nanos := identities(rows)
	args := p.keyArrays(keys)
	if p.layout.mode == appendMode {
		args = append(args, versions, nanos)
	}
	return p.holdings(ctx, p.layout, keys, made.sql.held, args)
}

func (p *postgres) read(ctx context.Context, made *plan, keys []string) ([]holding, error) {
	return p.holdings(ctx, p.layout, keys, made.sql.read, p.keyArrays(keys))
}

// keyArrays returns the parts of keys as one array for each of their columns.
func (p *postgres) keyArrays(keys []string) []any {
	parts := make([][]string, len(p.layout.keys))
	for _, key := range keys {
		for i, part := range p.layout.split(key) {
			parts[i] = append(parts[i], part)
		}
	}
	args := make([]any, len(parts))
	for i := range parts {
		args[i] = parts[i]
	}
	return args
}

// holdings runs a query for what is in the place of each key.
func (p *postgres) holdings(ctx context.Context, l layout, keys []string, text string, args []any) ([]holding, error) {
	out := make([]holding, len(keys))
	width := len(l.keys)
	there, form := make([]*string, width), make([]string, width)
	var nr int
	var version *int64
	var nanos *int32
	var digest, op *string
	into := []any{&nr}
	for i := range there {
		into = append(into, &there[i])
	}
	for i := range form {
		into = append(into, &form[i])
	}
	err := p.each(ctx, text, args, append(into, &version, &nanos, &digest, &op), func() error {
		h := holding{form: l.join(form)}
		if there[0] != nil {
			h = held(version, nanos, digest, op)
			h.key = l.joinTexts(there)
		}
		out[nr-1] = h
		return nil
	})
	return out, err
}

// errReadOnly says that the server takes no writes, as one does that has become
// a standby.
var errReadOnly = errors.New("the server takes no writes")

func (p *postgres) probe(ctx context.Context) error {
	var readOnly bool
	err := p.each(ctx, "SELECT current_setting('transaction_read_only')::boolean", nil, []any{&readOnly}, func() error { return nil })
	if err != nil {
		return err
	}
	if readOnly {
		return errReadOnly
	}
	// EXPLAIN finds the table, its columns, the unique index that the guard needs
	// and the permissions, and writes nothing.
	made, err := p.plan(ctx)
	if err != nil {
		return err
	}
	if _, err := p.exec(ctx, "EXPLAIN "+made.sql.write, p.arrays(nil)...); err != nil {
		return err
	}
	if p.layout.versions != "" {
		args := p.arrays(nil)[:len(p.layout.keys)+notedColumns]
		for text, args := range map[string][]any{made.sql.note: p.noteArrays(nil), made.sql.remove: args} {
			if _, err := p.exec(ctx, "EXPLAIN "+text, args...); err != nil {
				return err
			}
		}
	}
	_, err = p.exec(ctx, "EXPLAIN "+made.sql.read, p.keyArrays(nil)...)
	return err
}

func (p *postgres) create(ctx context.Context) error {
	for _, text := range postgresTables(p.layout) {
		if _, err := p.exec(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

func (p *postgres) ddl() string { return strings.Join(postgresTables(p.layout), "; ") }

func (p *postgres) close() error {
	p.pool.Close()
	return nil
}
