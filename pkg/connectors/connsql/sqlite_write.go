package connsql

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"
)

// statement is that of the first row.
func (s *sqlite) statement(rows []row, again bool) (string, []any) {
	return s.text(again), append(appendArgs(nil, rows[0], sqliteTime), updatedAt())
}

// text is the statement that writes one row.
func (s *sqlite) text(again bool) string {
	if again {
		return s.sql.rewrite
	}
	return s.sql.write
}

// write runs its statements in one transaction.
func (s *sqlite) write(ctx context.Context, rows []row, again bool) (all bool, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // err says what happened
		}
	}()
	stored, at := int64(0), updatedAt()
	size := s.atOnce(len(rows))
	whole := len(rows) - len(rows)%size
	for _, part := range [][]row{rows[:whole], rows[whole:]} {
		if len(part) == 0 {
			continue
		}
		n, err := s.insert(ctx, tx, s.many(s.text(again), min(size, len(part))), part, min(size, len(part)), at)
		if err != nil {
			return false, err
		}
		stored += n
	}
	return stored == int64(len(rows)), tx.Commit()
}

// Limits of one statement: more rows would make it no faster, and SQLite takes
// no more than 32766 parameters.
const (
	mostSQLiteRows   = 50
	mostSQLiteParams = 30000
)

// atOnce returns how many of so many rows one statement writes.
func (s *sqlite) atOnce(rows int) int {
	if s.layout.mode == appendMode {
		return 1 // what it says of the other rows of a key is said of one row
	}
	return max(1, min(rows, mostSQLiteRows, mostSQLiteParams/len(s.layout.columns())))
}

// many returns a statement of one row for as many as atOnce allows.
func (s *sqlite) many(one string, rows int) string {
	if rows == 1 {
		return one
	}
	values := sqliteValues(s.layout)
	before := len(sqliteInsert(s.layout))
	return one[:before] + strings.Repeat(values+", ", rows-1) + one[before:]
}

// insert runs a statement that takes so many rows for all of them, and returns
// how many were stored.
func (s *sqlite) insert(ctx context.Context, tx *sql.Tx, text string, rows []row, size int, at any) (stored int64, err error) {
	stmt, err := s.prepare(ctx, tx, text)
	if err != nil {
		return 0, err
	}
	defer func() { _ = stmt.Close() }() // ends with the transaction anyway
	args := make([]any, 0, size*len(s.layout.columns()))
	for part := range slices.Chunk(rows, size) {
		args = args[:0]
		for _, r := range part {
			args = append(appendArgs(args, r, sqliteTime), at)
		}
		done, err := stmt.ExecContext(ctx, args...)
		if err != nil {
			return 0, s.recheck(ctx, tx, text, err)
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
	args = append(args, r.key, version, nanos, string(r.tag.Digest.AppendString(digest[:0])), string(r.op))
	for _, v := range r.values {
		if t, ok := v.(time.Time); ok {
			v = t.Format(timeLayout)
		}
		args = append(args, v)
	}
	return args
}
