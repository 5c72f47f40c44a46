package connsql

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A pooler may give each transaction another connection to the server, as PgBouncer does in
// the mode "transaction". Then a statement that was prepared under a name is not there, or
// is there already; and many settings of a connection are refused, since the pooler could
// not keep them. So, once a pooler has shown itself by such an answer, statements have no
// names, and limits on time are set within each transaction.

// Answers of poolers, and of servers behind them, to what a pooler cannot do.
const (
	stateProtocol    = "08P01" // PgBouncer's for all that it refuses, settings among them
	stateNoStatement = "26000"
	stateStatement   = "42P05"
)

// beforeConnect sets the limits on time of a connection that stays one's own, and has no
// statement prepared under a name on any other.
func (p *postgres) beforeConnect(_ context.Context, cfg *pgx.ConnConfig) error {
	if p.pooled.Load() {
		cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		return nil
	}
	cfg.RuntimeParams["statement_timeout"], cfg.RuntimeParams["lock_timeout"] = p.limits[0], p.limits[1]
	return nil
}

// exec runs a statement and returns how many rows it has changed.
func (p *postgres) exec(ctx context.Context, text string, args ...any) (int64, error) {
	var changed int64
	err := p.run(func() error {
		if !p.pooled.Load() {
			done, err := p.pool.Exec(ctx, text, args...)
			changed = done.RowsAffected()
			return err
		}
		batch := p.limited()
		batch.Queue(text, args...).Exec(func(done pgconn.CommandTag) error {
			changed = done.RowsAffected()
			return nil
		})
		return p.pool.SendBatch(ctx, batch).Close()
	})
	return changed, err
}

// each scans each row of a query into these places, and calls use then.
func (p *postgres) each(ctx context.Context, text string, args, into []any, use func() error) error {
	return p.run(func() error {
		if !p.pooled.Load() {
			found, err := p.pool.Query(ctx, text, args...)
			if err != nil {
				return err
			}
			_, err = pgx.ForEachRow(found, into, use)
			return err
		}
		batch := p.limited()
		batch.Queue(text, args...).Query(func(found pgx.Rows) error {
			_, err := pgx.ForEachRow(found, into, use)
			return err
		})
		return p.pool.SendBatch(ctx, batch).Close()
	})
}

// limited begins a batch, which is one transaction, with the limits on time.
func (p *postgres) limited() *pgx.Batch {
	batch := &pgx.Batch{}
	batch.Queue("SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true)", p.limits[0], p.limits[1])
	return batch
}

// run repeats what failed by the answer of a pooler that has not been known before. Nothing
// was carried out then.
func (p *postgres) run(what func() error) error {
	pooled := p.pooled.Load()
	err := what()
	if err == nil || pooled || !isPoolers(err) {
		return err
	}
	p.pooled.Store(true)
	p.pool.Reset() // connections that prepare statements under names
	if err = what(); isPoolers(err) {
		p.pooled.Store(false) // it is something else
	}
	return err
}

func isPoolers(err error) bool {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return false
	}
	var connecting *pgconn.ConnectError
	switch server.Code {
	case stateNoStatement, stateStatement:
		return true
	case stateProtocol:
		return errors.As(err, &connecting)
	default:
		return false
	}
}
