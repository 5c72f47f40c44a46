package connsql

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hms-utl/extsync/pkg/events"
)

// notedColumns is how many parameters the guard has behind those of the key.
const notedColumns = 4

// writeNoted writes where deletes remove rows. The first statement notes the versions that
// the guard lets through, and locks those of all keys until the end of the transaction; those
// behind it do to the rows what was noted. All go out at once, and are one transaction. Each
// sees what the one before it has waited for.
func (p *postgres) writeNoted(ctx context.Context, made *plan, rows []row, again bool) (bool, error) {
	upserts := 0
	for _, r := range rows {
		if r.op != events.Delete {
			upserts++
		}
	}
	note, write := made.sql.note, made.sql.write
	if again {
		note, write = made.sql.renote, made.sql.rewrite
	}
	var noted, stored int64
	count := func(n *int64) func(pgconn.CommandTag) error {
		return func(done pgconn.CommandTag) error {
			*n = done.RowsAffected()
			return nil
		}
	}
	err := p.run(func() error {
		batch := &pgx.Batch{}
		if p.pooled.Load() {
			batch = p.limited()
		}
		args := p.arrays(rows)
		batch.Queue(note, p.noteArrays(rows)...).Exec(count(&noted))
		if upserts < len(rows) {
			batch.Queue(made.sql.remove, args[:len(p.layout.keys)+notedColumns]...)
		}
		if upserts > 0 {
			batch.Queue(write, args...).Exec(count(&stored))
		}
		return p.pool.SendBatch(ctx, batch).Close()
	})
	// Whether a delete has left a row of somebody else there, the table must be asked.
	return noted == int64(len(rows)) && stored == noted, err
}

// noteArrays are the parameters for the table of versions.
func (p *postgres) noteArrays(rows []row) []any {
	return (&postgres{layout: p.layout.noted()}).arrays(rows)
}

func (p *postgres) tombstones(ctx context.Context, made *plan, keys []string) ([]holding, error) {
	return p.holdings(ctx, p.layout.noted(), keys, made.sql.noted, []any{keys})
}
