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
	kept   atomic.Pointer[plan]
	// versions is the table of versions, nil if there is none.
	versions *mysql
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
	out := &mysql{db: db, layout: l}
	if l.versions != "" {
		out.versions = &mysql{db: db, layout: l.noted()}
	}
	return out, nil
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

func (m *mysql) statement(_ *plan, rows []row, again bool) (string, []any) {
	args := make([]any, 0, len(rows)*(len(m.layout.columns())-1))
	for _, r := range rows {
		args = appendArgs(args, r, mysqlTime)
	}
	return m.layout.mysqlWrite(len(rows), again), args
}

// write counts: the server says 1 for a row that is new, 2 for one that is
// changed, 0 for one that stays. Only if all were changed is the sum clear.
func (m *mysql) write(ctx context.Context, made *plan, rows []row, again bool) (bool, error) {
	if err := m.check(ctx); err != nil {
		return false, err
	}
	if slices.ContainsFunc(rows, m.tooLarge) {
		return false, driver.ErrPktTooLarge
	}
	if m.versions != nil {
		return false, m.writeNoted(ctx, made, rows, again)
	}
	text, args := m.statement(made, rows, again)
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

// held asks once more for each row in whose place nothing of its own key is: the database
// may take another key for the same.
func (m *mysql) held(ctx context.Context, _ *plan, rows []row) ([]holding, error) {
	return m.heldOn(ctx, m.db, rows, "")
}

// A querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (m *mysql) heldOn(ctx context.Context, on querier, rows []row, lock string) ([]holding, error) {
	appends := m.layout.mode == appendMode
	find := func(rows ...row) (map[string]holding, error) {
		var args []any
		for _, r := range rows {
			args = append(args, r.keys...)
			if appends {
				version, nanos := versionColumns(r.tag.Version)
				args = append(args, version, nanos)
			}
		}
		return m.find(ctx, on, m.layout.mysqlHeld(len(rows))+lock, args)
	}
	there, err := find(rows...)
	if err != nil {
		return nil, err
	}
	out := make([]holding, len(rows))
	for i, r := range rows {
		var own bool
		if out[i], own = there[r.key]; own {
			continue
		}
		other, err := find(r)
		if err != nil {
			return nil, err
		}
		for _, h := range other {
			out[i] = h
		}
	}
	return out, nil
}

func (m *mysql) read(ctx context.Context, made *plan, keys []string) ([]holding, error) {
	out := make([]holding, len(keys))
	var args []any
	n := 0
	for _, key := range keys {
		if parts, err := made.key(m.layout, key, nil); err == nil { // else the columns hold no such key
			args = append(args, parts...)
			n++
		}
	}
	if n == 0 {
		return out, nil
	}
	there, err := m.find(ctx, m.db, m.layout.mysqlRead(n), args)
	for i, key := range keys {
		out[i] = there[key]
	}
	return out, err
}

// find returns the rows that a query gives, by the keys that they have.
func (m *mysql) find(ctx context.Context, on querier, text string, args []any) (map[string]holding, error) {
	found, err := on.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	there := make(map[string]holding)
	err = m.layout.eachHolding(found, nil, nil, func(h holding) { there[h.key] = h })
	return there, err
}

// probe has the statement explained, which finds the table, its columns and the
// permissions, and writes nothing.
func (m *mysql) probe(ctx context.Context) error {
	if _, err := m.plan(ctx); err != nil {
		return err
	}
	example := appendArgs(nil, row{keys: make([]any, len(m.layout.keys)), values: make([]any, len(m.layout.values))}, mysqlTime)
	if _, err := m.db.ExecContext(ctx, "EXPLAIN "+m.layout.mysqlWrite(1, false), example...); err != nil {
		return err
	}
	if _, err := m.find(ctx, m.db, m.layout.mysqlRead(1), make([]any, len(m.layout.keys))); err != nil {
		return err
	}
	if m.versions != nil {
		if err := m.versions.probe(ctx); err != nil {
			return err
		}
	}
	return m.check(ctx)
}

func (m *mysql) create(ctx context.Context) error {
	if _, err := m.db.ExecContext(ctx, m.layout.mysqlCreate()); err != nil || m.versions == nil {
		return err
	}
	return m.versions.create(ctx)
}

func (m *mysql) ddl() string {
	if m.versions == nil {
		return m.layout.mysqlCreate()
	}
	return m.layout.mysqlCreate() + "; " + m.versions.ddl()
}

func (m *mysql) close() error { return m.db.Close() }
