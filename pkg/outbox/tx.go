package outbox

import (
	"context"
	"database/sql"
)

// A Tx is the transaction of the caller, who commits it or rolls it back. SQL and Pgx make
// one. It is as safe for concurrent use as that transaction.
type Tx struct {
	dialect  Dialect
	exec     func(ctx context.Context, query string, args ...any) error
	queryRow func(ctx context.Context, query string, args ...any) row
}

type row interface{ Scan(into ...any) error }

// A Runner is a *sql.Tx, or a *sql.Conn on which a transaction has begun, or what a library
// has wrapped around one. A *sql.DB is none: each statement would be a transaction.
type Runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// SQL returns the transaction of package database/sql on a database of a dialect. With
// SQLite it should have begun by BEGIN IMMEDIATE (_txlock=immediate in the data source name
// of modernc.org/sqlite), or it may fail for good when somebody else writes.
func SQL(tx Runner, d Dialect) Tx {
	return Tx{
		dialect: d,
		exec: func(ctx context.Context, query string, args ...any) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		},
		queryRow: func(ctx context.Context, query string, args ...any) row {
			return tx.QueryRowContext(ctx, query, args...)
		},
	}
}

// Pgx returns a pgx.Tx of github.com/jackc/pgx, any version since 4.
func Pgx[Tag any, Row row](tx interface {
	Exec(ctx context.Context, query string, args ...any) (Tag, error)
	QueryRow(ctx context.Context, query string, args ...any) Row
},
) Tx {
	return Tx{
		dialect: Postgres,
		exec: func(ctx context.Context, query string, args ...any) error {
			_, err := tx.Exec(ctx, query, args...)
			return err
		},
		queryRow: func(ctx context.Context, query string, args ...any) row { return tx.QueryRow(ctx, query, args...) },
	}
}
