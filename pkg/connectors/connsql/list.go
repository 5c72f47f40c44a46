package connsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// listKeys returns the query for the keys behind one, each once, or for the first; text is
// the form in which a key's column is returned, after are the placeholders of one key and
// limit that of their number.
func (l layout) listKeys(mark string, text func(column string) string, after []string, limit string) string {
	keys := quoteAll(l.keys, mark, "")
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = text(key)
	}
	list, where := strings.Join(keys, ", "), ""
	switch {
	case len(after) == 1: // not as a row, which not every server looks up in an index
		where = fmt.Sprintf(" WHERE %s > %s", list, after[0])
	case after != nil:
		where = fmt.Sprintf(" WHERE (%s) > (%s)", list, strings.Join(after, ", "))
	}
	return fmt.Sprintf("SELECT %s FROM %s%s GROUP BY %s ORDER BY %s LIMIT %s",
		strings.Join(texts, ", "), quoteTable(l.table, mark), where, list, list, limit)
}

func (p *postgres) list(ctx context.Context, made *plan, after string, limit int) ([]string, error) {
	args := []any{limit}
	var marks []string
	if after != "" {
		for i, part := range p.layout.split(after) {
			marks = append(marks, made.keyMarks[i])
			args = append(args, part)
		}
	}
	text := p.layout.listKeys(`"`, func(c string) string { return c + "::text" }, marks, "$1")
	width := len(p.layout.keys)
	parts, into := make([]*string, width), make([]any, width)
	for i := range parts {
		into[i] = &parts[i]
	}
	var keys []string
	err := p.each(ctx, text, args, into, func() error {
		keys = append(keys, p.layout.joinTexts(parts))
		return nil
	})
	return keys, err
}

// afterKey returns the placeholders and parameters of the key behind which a list begins.
func (l layout) afterKey(made *plan, after, mark string) (marks []string, args []any, err error) {
	if after == "" {
		return nil, nil, nil
	}
	args, err = made.key(l, after, nil)
	return slices.Repeat([]string{mark}, len(args)), args, err
}

func (m *mysql) list(ctx context.Context, made *plan, after string, limit int) ([]string, error) {
	marks, args, err := m.layout.afterKey(made, after, "?")
	if err != nil {
		return nil, err
	}
	text := m.layout.listKeys(mysqlMark, func(c string) string { return c }, marks, "?")
	found, err := m.db.QueryContext(ctx, text, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	return m.layout.collectKeys(found)
}

func (s *sqlite) list(ctx context.Context, made *plan, after string, limit int) ([]string, error) {
	marks, args, err := s.layout.afterKey(made, after, "?")
	if err != nil {
		return nil, err
	}
	stmt, err := s.prepare(ctx, s.db, s.layout.listKeys(`"`, func(c string) string { return c }, marks, "?"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = stmt.Close() }() // nothing was written
	found, err := stmt.QueryContext(ctx, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	return s.layout.collectKeys(found)
}

// collectKeys reads the rows of a query for keys. It closes found.
func (l layout) collectKeys(found *sql.Rows) (keys []string, err error) {
	defer func() { err = errors.Join(err, found.Close()) }()
	parts, into := make([]*string, len(l.keys)), make([]any, len(l.keys))
	for i := range parts {
		into[i] = &parts[i]
	}
	for found.Next() {
		if err := found.Scan(into...); err != nil {
			return nil, err
		}
		keys = append(keys, l.joinTexts(parts))
	}
	return keys, found.Err()
}
