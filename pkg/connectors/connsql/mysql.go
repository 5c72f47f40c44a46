package connsql

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// mysql speaks to a MySQL or MariaDB server. Its upsert does not say of a new row
// whether it was written, so a batch with one takes two round trips: one writes,
// one reads.
type mysql struct {
	db     *sql.DB
	layout layout
	// maxValue is the most bytes that one value may have, 0 until it is known and
	// the table was seen to have the index that the guard needs.
	maxValue atomic.Int64
}

// sqlMode makes the server refuse values that it would else bend until they fit.
const sqlMode = "'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"

func openMySQL(p pool, l layout) (database, error) {
	cfg, err := driver.ParseDSN(p.dsn.text)
	if err != nil {
		return nil, errMySQLDSN
	}
	cfg.Passwd = p.dsn.password(cfg.Passwd)
	cfg.DialFunc = p.dialer.DialContext
	if p.tls != nil {
		cfg.TLS = withServerName(p.tls, hostOf(cfg.Addr))
	}
	cfg.Loc = time.UTC
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = p.timeout, p.timeout, p.timeout
	cfg.InterpolateParams = true // one round trip instead of three
	cfg.MultiStatements = false
	cfg.AllowAllFiles = false
	cfg.ClientFoundRows = false
	cfg.MaxAllowedPacket = 0 // as the server has it: it closes the connection over more
	cfg.Logger = &driver.NopLogger{}
	if cfg.Params == nil {
		cfg.Params = make(map[string]string)
	}
	cfg.Params["sql_mode"] = sqlMode
	cfg.Params["time_zone"] = "'+00:00'"
	// MariaDB can bound a statement itself; MySQL reads a comment here.
	seconds := func(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
	cfg.Params["innodb_lock_wait_timeout"] = seconds(p.lockTimeout()) +
		" /*M!100101 , max_statement_time=" + seconds(p.timeout) + " */"
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, errMySQLDSN
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(p.connections)
	db.SetMaxIdleConns(p.connections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return &mysql{db: db, layout: l}, nil
}

// withServerName returns a TLS configuration that expects a certificate for the host,
// unless it has a name already.
func withServerName(c *tls.Config, host string) *tls.Config {
	c = c.Clone()
	if c.ServerName == "" {
		c.ServerName = host
	}
	return c
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address // of a socket
	}
	return host
}

// errNoUnique says that nothing keeps two rows of one key out of the table, and
// so nothing would make the guard run.
var errNoUnique = errors.New("the table has no primary key or unique index of exactly the columns that identify a row")

// check looks for that index once, and for the server's limit. PostgreSQL and
// SQLite refuse a statement that lacks the index; MySQL would insert the key
// again.
func (m *mysql) check(ctx context.Context) error {
	if m.maxValue.Load() > 0 {
		return nil
	}
	schema, name, ok := strings.Cut(m.layout.table, ".")
	if !ok {
		schema, name = "", schema
	}
	var tables, indexes int
	var limit int64
	err := m.db.QueryRowContext(ctx, `SELECT @@max_allowed_packet,
		(SELECT COUNT(*) FROM information_schema.tables
		 WHERE table_schema = COALESCE(NULLIF(?, ''), DATABASE()) AND table_name = ?),
		(SELECT COUNT(*) FROM (SELECT index_name FROM information_schema.statistics
		 WHERE table_schema = COALESCE(NULLIF(?, ''), DATABASE()) AND table_name = ? AND non_unique = 0
		 GROUP BY index_name
		 HAVING MAX(sub_part) IS NULL AND GROUP_CONCAT(column_name ORDER BY CAST(column_name AS BINARY) SEPARATOR '\n') = ?) AS found)`,
		schema, name, schema, name, strings.Join(sorted(m.layout.identity()), "\n")).Scan(&limit, &tables, &indexes)
	switch {
	case err != nil:
		return err
	case tables == 0:
		return nil // the statement itself says that it is missing
	case indexes == 0:
		return errNoUnique
	}
	m.maxValue.Store(limit)
	return nil
}

func (m *mysql) statement(rows []row, again bool) (string, []any) {
	args := make([]any, 0, len(rows)*(len(m.layout.columns())-1))
	for _, r := range rows {
		args = appendArgs(args, r, mysqlTime)
	}
	return m.layout.mysqlWrite(len(rows), again), args
}

// write counts: the server says 1 for a row that is new, 2 for one that is
// changed, 0 for one that stays. Only if all were changed is the sum clear.
func (m *mysql) write(ctx context.Context, rows []row, again bool) (bool, error) {
	if err := m.check(ctx); err != nil {
		return false, err
	}
	if slices.ContainsFunc(rows, m.tooLarge) {
		return false, driver.ErrPktTooLarge
	}
	text, args := m.statement(rows, again)
	done, err := m.db.ExecContext(ctx, text, args...)
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	each := int64(2)
	if m.layout.mode == appendMode {
		each = 1 // it changes none
	}
	return n == each*int64(len(rows)) || n > 0 && len(rows) == 1, err
}

// tooLarge reports whether the server would refuse a value for its size, with an
// error that says nothing. The driver splits what is too large only together.
func (m *mysql) tooLarge(r row) bool {
	limit := m.maxValue.Load()
	return limit > 0 && slices.ContainsFunc(r.values, func(v any) bool {
		switch v := v.(type) {
		case string:
			return int64(len(v)) >= limit
		case []byte:
			return int64(len(v)) >= limit
		default:
			return false
		}
	})
}

func (m *mysql) held(ctx context.Context, rows []row) ([]holding, error) {
	keys, versions, nanos := identities(rows)
	if m.layout.mode != appendMode {
		return m.read(ctx, keys)
	}
	var args []any
	for i := range rows {
		args = append(args, keys[i], versions[i], nanos[i])
	}
	return m.query(ctx, keys, m.layout.mysqlHeld(len(rows)), args)
}

func (m *mysql) read(ctx context.Context, keys []string) ([]holding, error) {
	args := make([]any, len(keys))
	for i, k := range keys {
		args[i] = k
	}
	return m.query(ctx, keys, m.layout.mysqlRead(len(keys)), args)
}

func (m *mysql) query(ctx context.Context, keys []string, text string, args []any) ([]holding, error) {
	found, err := m.db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	return collect(found, keys)
}

// probe has the statement explained, which finds the table, its columns and the
// permissions, and writes nothing.
func (m *mysql) probe(ctx context.Context) error {
	example := appendArgs(nil, row{key: "probe", values: make([]any, len(m.layout.values))}, mysqlTime)
	if _, err := m.db.ExecContext(ctx, "EXPLAIN "+m.layout.mysqlWrite(1, false), example...); err != nil {
		return err
	}
	if _, err := m.read(ctx, []string{"probe"}); err != nil {
		return err
	}
	return m.check(ctx)
}

func (m *mysql) create(ctx context.Context) error {
	_, err := m.db.ExecContext(ctx, m.ddl())
	return err
}

func (m *mysql) ddl() string { return m.layout.mysqlCreate() }

func (m *mysql) close() error { return m.db.Close() }
