package connsql

import (
	"context"
	"fmt"
)

// writeNoted writes where deletes remove rows.
func (m *mysql) writeNoted(ctx context.Context, made *plan, rows []row, again bool) (err error) {
	if err := m.versions.check(ctx); err != nil {
		return err
	}
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // err says what happened
		}
	}()
	exec := func(text string, args []any) error {
		_, err := tx.ExecContext(ctx, text, args...)
		return err
	}
	err = m.layout.run(rows, notedWrite{
		note: func(rows []row) error { return exec(m.versions.statement(nil, noteRows(rows), again)) },
		noted: func(rows []row) ([]holding, error) {
			return m.versions.heldOn(ctx, tx, noteRows(rows), " FOR UPDATE")
		},
		there: func(rows []row) ([]holding, error) { return m.heldOn(ctx, tx, rows, " FOR UPDATE") },
		remove: func(rows []row) error {
			var args []any
			for _, r := range rows {
				args = append(args, r.keys...)
			}
			where := m.layout.mysqlIn(m.layout.keys, "", len(rows))
			return exec(fmt.Sprintf("DELETE FROM %s WHERE %s", quoteTable(m.layout.table, mysqlMark), where), args)
		},
		store: func(rows []row) error { return exec(m.statement(made, rows, again)) },
	})
	if err != nil {
		return err
	}
	return tx.Commit()
}

func (m *mysql) tombstones(ctx context.Context, _ *plan, keys []string) ([]holding, error) {
	rows := make([]row, len(keys))
	for i, key := range keys {
		rows[i].key = key
	}
	return m.versions.held(ctx, nil, noteRows(rows))
}
