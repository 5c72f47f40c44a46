package connsql

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"
)

// statement is that of the first row.
func (s *sqlite) statement(_ *plan, rows []row, again bool) (string, []any) {
	return s.text(again), appendArgs([]any{updatedAt()}, rows[0], sqliteTime)
}

// text is the statement that writes one row.
func (s *sqlite) text(again bool) string {
	if again {
		return s.sql.rewrite
	}
	return s.sql.write
}

// write runs its statements in one transaction.
func (s *sqlite) write(ctx context.Context, _ *plan, rows []row, again bool) (all bool, err error) {
	if s.versions != nil {
		return false, s.writeNoted(ctx, rows, again)
	}
	parts, err := s.parts(ctx, rows, again)
	if err != nil {
		return false, err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // err says what happened
		}
	}()
	stored, err := s.insertAll(ctx, tx, parts)
	if err != nil {
		return false, err
	}
	return stored == int64(len(rows)), tx.Commit()
}

func (s *sqlite) insertAll(ctx context.Context, tx *sql.Tx, parts []part) (stored int64, err error) {
	at := updatedAt()
	for _, p := range parts {
		n, err := s.insert(ctx, tx, p, at)
		if err != nil {
			return 0, err
		}
		stored += n
	}
	return stored, nil
}

// A part is rows that a statement writes, so many at a time.
type part struct {
	text string
	stmt *sql.Stmt
	size int
	rows []row
}

// Limits of one statement: more rows would make it no faster, and SQLite takes
// no more than 32766 parameters. What is left over goes fewSQLiteRows at a time,
// then one by one: compiling a statement for just so many takes longer.
const (
	mostSQLiteRows   = 50
	fewSQLiteRows    = 8
	mostSQLiteParams = 30000
)

// parts returns how rows are written.
func (s *sqlite) parts(ctx context.Context, rows []row, again bool) ([]part, error) {
	most := max(1, min(mostSQLiteRows, mostSQLiteParams/len(s.layout.columns())))
	if s.layout.mode == appendMode {
		most = 1 // what it says of the other rows of a key is said of one row
	}
	var out []part
	for _, size := range [...]int{most, min(fewSQLiteRows, most), 1} {
		n := len(rows) - len(rows)%size
		if n == 0 {
			continue
		}
		p := part{text: s.many(s.text(again), size), size: size, rows: rows[:n]}
		var err error
		if p.stmt, err = s.compiled(ctx, p.text); err != nil {
			return nil, err
		}
		out, rows = append(out, p), rows[n:]
	}
	return out, nil
}

// many returns a statement of one row for as many.
func (s *sqlite) many(one string, rows int) string {
	values := sqliteValues(s.layout)
	before := len(sqliteInsert(s.layout))
	return one[:before] + strings.Repeat(values+", ", rows-1) + one[before:]
}

// compiled returns a statement that stays compiled. It is safe for concurrent use.
func (s *sqlite) compiled(ctx context.Context, text string) (*sql.Stmt, error) {
	s.mu.Lock()
	stmt := s.stmts[text]
	s.mu.Unlock()
	if stmt != nil {
		return stmt, nil
	}
	stmt, err := s.prepare(ctx, s.db, text)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := s.stmts[text]; first != nil { // somebody was faster
		_ = stmt.Close() //nolint:sqlclosecheck // nothing was run, and the other one stays open
		return first, nil
	}
	s.stmts[text] = stmt
	return stmt, nil
}

// insert runs the statement of a part for all of its rows, and returns how many
// were stored.
func (s *sqlite) insert(ctx context.Context, tx *sql.Tx, p part, at any) (stored int64, err error) {
	stmt := tx.StmtContext(ctx, p.stmt) // ends with the transaction
	args := make([]any, 0, p.size*len(s.layout.columns()))
	for rows := range slices.Chunk(p.rows, p.size) {
		args = append(args[:0], at)
		for _, r := range rows {
			args = appendArgs(args, r, sqliteTime)
		}
		done, err := stmt.ExecContext(ctx, args...)
		if err != nil {
			return 0, s.recheck(ctx, tx, p.text, err)
		}
		n, err := done.RowsAffected()
		if err != nil {
			return 0, err
		}
		stored += n
	}
	return stored, nil
}

// updatedAt is the time of a write as a parameter, which all of its rows share.
func updatedAt() any { return time.Now().UTC().Format(sqliteUpdatedAt) }

// appendArgs appends the parameters of a row, in the order of layout.columns but
// for the time of the write.
func appendArgs(args []any, r row, timeLayout string) []any {
	version, nanos := versionColumns(r.tag.Version)
	var digest [hexDigest]byte
	args = append(args, r.keys...)
	args = append(args, version, nanos, string(r.tag.Digest.AppendString(digest[:0])), string(r.op))
	return appendValues(args, r, timeLayout)
}

// appendValues appends the values of a row.
func appendValues(args []any, r row, timeLayout string) []any {
	for _, v := range r.values {
		if t, ok := v.(time.Time); ok {
			v = t.Format(timeLayout)
		}
		args = append(args, v)
	}
	return args
}
