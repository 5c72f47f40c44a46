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
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// KindName is the name of the kind in configurations.
const KindName = "sql"

// defaultTimeout bounds a statement where the engine sets no limit.
const defaultTimeout = 30 * time.Second

// Kind returns the connector kind "sql".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name:    KindName,
		Summary: "a table of a PostgreSQL, MySQL, MariaDB or SQLite database",
		Config:  Config{},
		Access:  []string{"auto_create", "tls", "max_batch"},
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
		return nil, misconfigured("config", err)
	}
	table, err := cfg.tableFor(env.Channel)
	if err != nil {
		return nil, misconfigured("config", err)
	}
	m, err := newMapper(cfg)
	if err != nil {
		return nil, misconfigured("config", err)
	}
	dsn, secrets, err := cfg.resolve(env.Secrets)
	if err != nil {
		return nil, err
	}
	l := cfg.layout(table)
	p := pool{dsn: dsn, channel: env.Channel, connections: max(env.Concurrency, 1), timeout: env.Timeout, create: cfg.AutoCreate, tls: cfg.TLS}
	if p.timeout <= 0 {
		p.timeout = defaultTimeout
	}
	db, password, err := openDatabase(cfg.Dialect, p, l)
	if err != nil {
		return nil, misconfigured("dsn", fmt.Errorf("dsn: %w", err))
	}
	return &connector{
		db: db, mapper: m, maxBatch: cfg.MaxBatch, autoCreate: cfg.AutoCreate,
		secrets: append(secrets, password), absentMeansTaken: cfg.Dialect == mysqlDialect && cfg.Mode != appendMode,
	}, nil
}

func misconfigured(code string, err error) error {
	return &connectors.Error{Class: connectors.Misconfigured, Code: code, Err: err}
}

// pool is what the connections to a database are made from.
type pool struct {
	dsn         string
	channel     string
	connections int
	timeout     time.Duration // of a statement
	create      bool          // a database file that is missing may be created
	tls         TLS
}

// lockTimeout is how long a statement waits for a lock that somebody else holds.
// It is a part of the whole, so that the rows which are not locked get through
// within the same call.
func (p pool) lockTimeout() time.Duration { return max(p.timeout/10, 100*time.Millisecond) }

// openDatabase returns the database of a dialect and the password that is used,
// if there is one. It does not wait for the server. Its errors show nothing of
// the DSN.
func openDatabase(dialect string, p pool, l layout) (db database, password string, err error) {
	switch dialect {
	case postgresDialect:
		return openPostgres(p, l)
	case mysqlDialect:
		return openMySQL(p, l)
	case sqliteDialect:
		db, err = openSQLite(p, l)
		return db, "", err
	default:
		return nil, "", errors.New("the dialect is not known")
	}
}
