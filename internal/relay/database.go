package relay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	// The driver registers itself with database/sql under the name "sqlite".
	_ "modernc.org/sqlite"

	"github.com/hms-utl/extsync/pkg/outbox"
)

// ErrDSN says that a data source name cannot be used. The drivers' own errors may show a
// part of it, and with that a password.
var ErrDSN = errors.New("the data source name cannot be used")

// idleFor is how long a connection that nobody uses stays open.
const idleFor = 20 * time.Second

// A Database is an open database of the platform.
type Database struct {
	*sql.DB
	Dialect outbox.Dialect

	postgres *pgx.ConnConfig // nil if it is another
}

// Open opens a database, for so many claims at once. It does not connect.
func Open(d outbox.Dialect, dsn string, claims int) (*Database, error) {
	out := &Database{Dialect: d}
	var err error
	switch d {
	case outbox.Postgres:
		err = out.openPostgres(dsn)
	case outbox.MySQL:
		err = out.openMySQL(dsn)
	case outbox.SQLite:
		err = out.openSQLite(dsn)
	default:
		err = fmt.Errorf("%q is not postgres, mysql or sqlite", string(d))
	}
	if err != nil {
		return nil, err
	}
	out.SetMaxOpenConns(claims + 2) // one looks for targets, and one how old rows are
	out.SetMaxIdleConns(claims + 1)
	out.SetConnMaxIdleTime(idleFor)
	return out, nil
}

func (d *Database) openPostgres(dsn string) error {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return fmt.Errorf("%w: it is neither postgres://user@host/database nor a list of keywords and values, or a file that it names cannot be read", ErrDSN)
	}
	// No statement is prepared under a name: a pooler may give each transaction another connection.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	if _, named := cfg.RuntimeParams["application_name"]; !named {
		cfg.RuntimeParams["application_name"] = "extsync relay"
	}
	// Times without a zone are read as they are, and compared with as they are.
	delete(cfg.RuntimeParams, "TimeZone")
	cfg.RuntimeParams["timezone"] = "UTC"
	d.postgres = cfg
	d.DB = stdlib.OpenDB(*cfg)
	return nil
}

func (d *Database) openMySQL(dsn string) error {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return fmt.Errorf("%w: it is not like user:password@tcp(host:3306)/database", ErrDSN)
	}
	cfg.InterpolateParams = true // each statement is another, so to prepare it would be in vain
	cfg.Logger = &mysql.NopLogger{}
	// Times without a zone are read as they are, and compared with as they are.
	if cfg.Params == nil {
		cfg.Params = map[string]string{}
	}
	cfg.Params["time_zone"] = "'+00:00'"
	// The server ends a session of which it hears nothing: of a relay that is frozen, or whose
	// machine is gone, it would keep the locks for hours.
	cfg.Params["wait_timeout"] = "30"
	cfg.ParseTime, cfg.Loc = true, time.UTC
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return fmt.Errorf("%w: it is not like user:password@tcp(host:3306)/database", ErrDSN)
	}
	d.DB = sql.OpenDB(connector)
	return nil
}

func (d *Database) openSQLite(path string) error {
	// What is given may be the DSN of a server, with a password in it, so it is not shown.
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("%w: there is no such file; with the dialect sqlite it is the path of the platform's database file", ErrDSN)
	}
	options := url.Values{
		"mode":    {"rw"},
		"_txlock": {"immediate"}, // a write that waits at its start cannot fail at its end
		"_pragma": {"busy_timeout(5000)"},
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return fmt.Errorf("%w: it is not the path of a file", ErrDSN)
	}
	d.DB = db
	return nil
}

// Check reports whether the outbox is there: nil, or an error that says what to do.
func (d *Database) Check(ctx context.Context) error {
	for _, err := range targets(ctx, d.DB, speechOf(d.Dialect)) {
		return d.explain(ctx, err)
	}
	return nil
}

// explain says what to do about an error of reading the outbox.
func (d *Database) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	missing, refused := false, false
	var pg *pgconn.PgError
	var my *mysql.MySQLError
	switch {
	case errors.As(err, &pg):
		missing, refused = pg.Code == "42P01", pg.Code == "42501"
	case errors.As(err, &my):
		missing, refused = my.Number == 1146, my.Number == 1142
	case d.Dialect == outbox.SQLite:
		var n int
		looked := d.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE name = 'extsync_outbox'").Scan(&n)
		missing = looked == nil && n == 0
	}
	switch {
	case missing:
		return fmt.Errorf("the outbox is not there: %w; 'extsync outbox ddl --dialect %s' prints the statements that make it", err, d.Dialect)
	case refused:
		return fmt.Errorf("the outbox cannot be read: %w; GRANT SELECT, UPDATE, DELETE ON extsync_outbox to the relay's user", err)
	}
	return fmt.Errorf("the outbox cannot be read: %w", err)
}
