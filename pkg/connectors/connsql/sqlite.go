package connsql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	// The driver registers itself with database/sql under the name "sqlite".
	_ "modernc.org/sqlite"
)

// sqlite writes to a file. It has one connection: SQLite lets one writer in at a
// time, and waiting for it in Go ends when the caller's context does.
type sqlite struct {
	db     *sql.DB
	layout layout
	sql    statements
	kept   atomic.Pointer[plan]
	// versions is the table of versions, nil if there is none.
	versions *sqlite

	mu    sync.Mutex
	stmts map[string]*sql.Stmt // that stay compiled, by text
}

func openSQLite(p pool, l layout) (database, error) {
	file, err := sqlitePath(p)
	if err != nil {
		return nil, err
	}
	mode := "rw"
	if p.create {
		mode = "rwc"
	}
	options := url.Values{
		"mode":    {mode},
		"_txlock": {"immediate"}, // a write that waits at its start cannot fail at its end
		"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", max(p.timeout.Milliseconds(), 1)),
			"journal_mode(wal)", // readers and the writer do not keep each other waiting
			"synchronous(full)", // what was confirmed survives a loss of power (guarantee 1)
			// Among what is temporary are pages as they were before a statement, in case
			// it fails. They never have to outlive the process, and a statement's rows
			// change few; writing them to a file took a tenth of the time of a write.
			"temp_store(memory)",
		},
	}
	path := (&url.URL{Path: file}).EscapedPath()
	db, err := sql.Open("sqlite", "file:"+path+"?"+options.Encode())
	if err != nil {
		return nil, errors.New("it is not the path of a file")
	}
	db.SetMaxOpenConns(1)
	out := newSQLite(db, l)
	if l.versions != "" {
		out.versions = newSQLite(db, l.noted())
	}
	return out, nil
}

func newSQLite(db *sql.DB, l layout) *sqlite {
	return &sqlite{db: db, layout: l, sql: sqliteStatements(l), stmts: map[string]*sql.Stmt{}}
}

// sqlitePath returns the path of the file, if it and the files that SQLite has beside it
// are where the channel may write.
func sqlitePath(p pool) (path string, err error) {
	if err := checkSQLitePath(p.dsn.text); err != nil {
		return "", err
	}
	for _, suffix := range []string{"-journal", "-wal", "-shm", ""} {
		if path, err = p.env.DataPath(p.dsn.text + suffix); err != nil {
			return "", err
		}
	}
	return path, nil
}

// errPrepare marks errors that lie in the table and not in a row: the statement
// does not fit it.
var errPrepare = errors.New("the statement does not fit the table")

// A preparer is a database or a transaction.
type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// prepare compiles a statement. Its error wraps errPrepare, and errNoTable if
// the table is missing: SQLite has one code for all that a statement may name in
// vain. Looking for the table also has SQLite read the schema again, which it
// may remember as it was before somebody put the table right.
func (s *sqlite) prepare(ctx context.Context, on preparer, text string) (*sql.Stmt, error) {
	stmt, err := on.PrepareContext(ctx, text)
	if err == nil {
		return stmt, nil
	}
	schema, name, ok := strings.Cut(s.layout.table, ".")
	if !ok {
		schema, name = "main", schema
	}
	var tables int
	look := "SELECT count(*) FROM " + identifier(schema, `"`) + ".sqlite_master WHERE name = ?1 COLLATE NOCASE"
	lookErr := on.QueryRowContext(ctx, look, name).Scan(&tables)
	if stmt, err = on.PrepareContext(ctx, text); err == nil {
		return stmt, nil
	}
	err = fmt.Errorf("%w: %w", errPrepare, err)
	if lookErr == nil && tables == 0 {
		err = fmt.Errorf("%w: %w", errNoTable, err)
	}
	return nil, err
}

// recheck compiles a statement that failed once more: SQLite notices a table
// that others have changed only while the statement runs, and does not say so.
func (s *sqlite) recheck(ctx context.Context, on preparer, text string, err error) error {
	if !isSQLiteError(err) {
		return err
	}
	if prepareErr := s.compile(ctx, on, text); prepareErr != nil {
		return prepareErr
	}
	return err
}

// compile looks whether a statement fits the table.
func (s *sqlite) compile(ctx context.Context, on preparer, text string) error {
	stmt, err := s.prepare(ctx, on, text)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }() // it was not run
	return nil
}

func (s *sqlite) held(ctx context.Context, _ *plan, rows []row) ([]holding, error) {
	return s.heldOn(ctx, s.db, rows)
}

func (s *sqlite) heldOn(ctx context.Context, on preparer, rows []row) ([]holding, error) {
	wanted := make([][]any, len(rows))
	for i, r := range rows {
		wanted[i] = slices.Clone(r.keys)
		if s.layout.mode == appendMode {
			version, nanos := versionColumns(r.tag.Version)
			wanted[i] = append(wanted[i], version, nanos)
		}
	}
	return s.query(ctx, on, s.sql.held, wanted)
}

func (s *sqlite) read(ctx context.Context, made *plan, keys []string) ([]holding, error) {
	wanted := make([][]any, len(keys))
	for i, key := range keys {
		if parts, err := made.key(s.layout, key, nil); err == nil {
			wanted[i] = parts
		} // else the columns hold no such key, and NULL finds nothing
	}
	return s.query(ctx, s.db, s.sql.read, wanted)
}

// query returns what is in the place of each wanted key.
func (s *sqlite) query(ctx context.Context, on preparer, text string, wanted [][]any) ([]holding, error) {
	list, err := json.Marshal(wanted)
	if err != nil {
		return nil, err
	}
	stmt, err := s.prepare(ctx, on, text)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stmt.Close() }() // nothing was written
	found, err := stmt.QueryContext(ctx, string(list))
	if err != nil {
		return nil, s.recheck(ctx, on, text, err)
	}
	out := make([]holding, len(wanted))
	var nr int
	if err := s.layout.eachHolding(found, []any{&nr}, nil, func(h holding) { out[nr] = h }); err != nil {
		return nil, s.recheck(ctx, on, text, err)
	}
	return out, nil
}

// eachHolding reads the rows of a query for guardColumns, before them for what first points
// to, and behind them into last. It closes found.
func (l layout) eachHolding(found *sql.Rows, first []any, last []bool, use func(holding)) (err error) {
	defer func() { err = errors.Join(err, found.Close()) }()
	parts := make([]*string, len(l.keys))
	var version *int64
	var nanos *int32
	var digest, op *string
	into := slices.Clone(first)
	for i := range parts {
		into = append(into, &parts[i])
	}
	into = append(into, &version, &nanos, &digest, &op)
	for i := range last {
		into = append(into, &last[i])
	}
	for found.Next() {
		if err := found.Scan(into...); err != nil {
			return err
		}
		h := held(version, nanos, digest, op)
		h.key = l.joinTexts(parts)
		use(h)
	}
	return found.Err()
}

// probe has the statement compiled, which finds the table, its columns and the
// unique index that the guard needs.
func (s *sqlite) probe(ctx context.Context) error {
	if _, err := s.plan(ctx); err != nil {
		return err
	}
	for _, text := range []string{s.sql.write, s.sql.read} {
		if err := s.compile(ctx, s.db, text); err != nil {
			return err
		}
	}
	if s.versions != nil {
		return s.versions.probe(ctx)
	}
	return nil
}

func (s *sqlite) create(ctx context.Context) error {
	if _, err := s.db.ExecContext(ctx, s.sql.create[0]); err != nil || s.versions == nil {
		return err
	}
	return s.versions.create(ctx)
}

func (s *sqlite) ddl() string {
	if s.versions == nil {
		return s.sql.create[0]
	}
	return s.sql.create[0] + "; " + s.versions.ddl()
}

func (s *sqlite) close() error { return s.db.Close() }
