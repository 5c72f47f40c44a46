// Package connsql is the connector to SQL databases: PostgreSQL, MySQL and
// MariaDB, and SQLite.
//
// # What it writes
//
// The table has one row for each key. Besides the content it holds the version
// that the content has, in two columns: a number is in "version", with -1 in
// "version_nanos"; a time is in "version" as the whole seconds since 1970 in UTC,
// with the nanoseconds in "version_nanos". Both compare exactly. A key whose row
// holds the other kind of version is a conflict. "digest" tells two contents of
// one version apart, "op" is upsert or delete. A deleted key keeps its row, and
// with it its version, so that an older update which comes late is refused.
//
// # The guard
//
// The database itself refuses a version that is not newer than the one it holds,
// in the statement that writes (guarantee 2). A whole batch is one statement. If
// a row of it is refused for what it says, the batch is written again in smaller
// parts, so that only this row fails.
package connsql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// KindName is the name of the kind in configurations.
const KindName = "sql"

// Kind returns the connector kind "sql".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name:    KindName,
		Summary: "a table of a PostgreSQL, MySQL, MariaDB or SQLite database",
		Capabilities: connectors.Capabilities{
			Guard: connectors.GuardAtomic, KeepsDigest: true, KeepsTombstone: true,
			Probes: true, Reads: true, Compares: true, Fetches: true, Lists: true, Batches: true, Previews: true,
		},
		Configured: func(config []byte) connectors.Capabilities {
			can := Kind().Capabilities
			if c, err := decode(config); err == nil && c.Mode == appendMode {
				can.Guard, can.Compares, can.Fetches = connectors.GuardNone, false, false
			}
			return can
		},
		Config: Config{},
		NeedsJSON: func(config []byte) bool {
			c, err := decode(config)
			return err == nil && (c.Mode == tableMode || c.Content == jsonType)
		},
		Access: []string{"auto_create", "tls", "pooler", "allow_cidrs", "max_batch"},
		Check: func(config []byte) error {
			_, err := decode(config)
			return err
		},
		Open: open,
	}
}

func open(_ context.Context, env connectors.Env, data []byte) (connectors.Connector, error) {
	cfg, err := decode(data)
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	table, err := cfg.tableFor(env.Channel)
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	if problem := checkTable(cfg.versionsOf(table)); problem != "" && cfg.OnDelete == deleteOnDelete {
		return nil, connkit.Misconfigured("config", fmt.Errorf("%w: versions_table: %s; set it", connectors.ErrConfig, problem))
	}
	m, err := newMapper(cfg)
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	p, err := cfg.pool(env)
	if err != nil {
		return nil, err
	}
	l := cfg.layout(table)
	db, err := openDatabase(cfg.Dialect, p, l)
	var refused *connectors.Error
	if errors.As(err, &refused) {
		return nil, err
	}
	if err != nil {
		return nil, connkit.Misconfigured("dsn", fmt.Errorf("dsn: %w", err))
	}
	return &connector{
		db: db, layout: l, mapper: m, maxBatch: cfg.MaxBatch, autoCreate: cfg.AutoCreate, scrubber: env.Scrubber(),
		absentMeansTaken: cfg.Dialect == mysqlDialect && cfg.Mode != appendMode,
	}, nil
}

// pool is what the connections to a database are made from.
type pool struct {
	dsn         dsn
	channel     string
	connections int
	timeout     time.Duration // of a statement
	pooler      bool          // one stands before the server
	create      bool          // a database file that is missing may be created
	tls         *tls.Config   // nil: as the DSN says
	dialer      *connectors.Dialer
	env         connectors.Env
}

// pool resolves the configuration's references.
func (c Config) pool(env connectors.Env) (p pool, err error) {
	s := connkit.NewSecrets(env)
	p = pool{
		channel: env.Channel, connections: max(env.Concurrency, 1), timeout: connkit.TimeoutOf(env), create: c.AutoCreate, pooler: c.Pooler, env: env,
		dsn: c.parts(func(ref connectors.Ref) string { return s.Text("dsn", ref) }),
	}
	if c.TLS != (connkit.TLS{}) {
		if p.tls, err = c.TLS.Config(s); err != nil {
			return p, connkit.Misconfigured("config", err)
		}
	}
	if err := s.Err(); err != nil {
		return p, err
	}
	p.dialer, err = env.Dialer(c.AllowCIDRs)
	return p, err
}

// lockTimeout is how long a statement waits for a lock that somebody else holds.
// It is a part of the whole, so that the rows which are not locked get through
// within the same call.
func (p pool) lockTimeout() time.Duration { return max(p.timeout/10, 100*time.Millisecond) }

// openDatabase returns the database of a dialect. It does not wait for the server. Its
// errors show nothing of the DSN.
func openDatabase(dialect string, p pool, l layout) (database, error) {
	switch dialect {
	case postgresDialect:
		return openPostgres(p, l)
	case mysqlDialect:
		return openMySQL(p, l)
	case sqliteDialect:
		return openSQLite(p, l)
	default:
		return nil, errors.New("the dialect is not known")
	}
}
