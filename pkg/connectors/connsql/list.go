package connsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// listKeys returns the query for the keys behind one, each once; after and limit
// are the placeholders of the dialect.
func (l layout) listKeys(mark, after, limit string) string {
	key := identifier(l.names.Key, mark)
	return fmt.Sprintf("SELECT DISTINCT %[1]s FROM %[2]s WHERE %[1]s > %[3]s ORDER BY %[1]s LIMIT %[4]s",
		key, quoteTable(l.table, mark), after, limit)
}

func (p *postgres) list(ctx context.Context, after string, limit int) ([]string, error) {
	found, err := p.pool.Query(ctx, p.layout.listKeys(`"`, "$1", "$2"), after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, pgx.RowTo[string])
}

func (m *mysql) list(ctx context.Context, after string, limit int) ([]string, error) {
	found, err := m.db.QueryContext(ctx, m.layout.listKeys(mysqlMark, "?", "?"), after, limit)
	if err != nil {
		return nil, err
	}
	return collectKeys(found)
}

func (s *sqlite) list(ctx context.Context, after string, limit int) ([]string, error) {
	stmt, err := s.prepare(ctx, s.db, s.layout.listKeys(`"`, "?1", "?2"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = stmt.Close() }() // nothing was written
	found, err := stmt.QueryContext(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	return collectKeys(found)
}

// collectKeys reads the rows of a query for keys. It closes found.
func collectKeys(found *sql.Rows) (keys []string, err error) {
	defer func() { err = errors.Join(err, found.Close()) }()
	for found.Next() {
		var key string
		if err := found.Scan(&key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, found.Err()
}
