package connsql

import (
	"context"
	"fmt"
	"strings"
)

// writeNoted writes where deletes remove rows. The transaction is alone from its beginning.
func (s *sqlite) writeNoted(ctx context.Context, rows []row, again bool) (err error) {
	noted := noteRows(rows)
	notes, err := s.versions.parts(ctx, noted, again)
	if err != nil {
		return err
	}
	if err := s.compile(ctx, s.db, s.text(again)); err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // err says what happened
		}
	}()
	one := make([]string, len(s.layout.keys))
	for i, key := range quoteAll(s.layout.keys, `"`, "") {
		one[i] = key + " = ?"
	}
	remove := fmt.Sprintf("DELETE FROM %s WHERE %s", quoteTable(s.layout.table, `"`), strings.Join(one, " AND "))
	each := func(text string, rows []row, args func(row) []any) error {
		for _, r := range rows {
			if _, err := tx.ExecContext(ctx, text, args(r)...); err != nil {
				return s.recheck(ctx, tx, text, err)
			}
		}
		return nil
	}
	at := updatedAt()
	err = s.layout.run(rows, notedWrite{
		note: func([]row) error {
			_, err := s.versions.insertAll(ctx, tx, notes)
			return err
		},
		noted:  func(rows []row) ([]holding, error) { return s.versions.heldOn(ctx, tx, noteRows(rows)) },
		there:  func(rows []row) ([]holding, error) { return s.heldOn(ctx, tx, rows) },
		remove: func(rows []row) error { return each(remove, rows, func(r row) []any { return r.keys }) },
		store: func(rows []row) error {
			return each(s.text(again), rows, func(r row) []any { return appendArgs([]any{at}, r, sqliteTime) })
		},
	})
	if err != nil {
		return err
	}
	return tx.Commit()
}

func (s *sqlite) tombstones(ctx context.Context, _ *plan, keys []string) ([]holding, error) {
	rows := make([]row, len(keys))
	for i, key := range keys {
		rows[i].key = key
	}
	return s.versions.held(ctx, nil, noteRows(rows))
}
