package connsql

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// Fetch shows the columns that the table has beside those that the attempt would write. Which
// of them differ the database says, as it does for Compare.
func (c *connector) Fetch(ctx context.Context, a connectors.Attempt) (connectors.Fetched, error) {
	out, err := c.fetch(ctx, a)
	if err != nil {
		v := c.judge(err)
		if v.noTable && c.autoCreate && ctx.Err() == nil {
			return connectors.Fetched{}, nil
		}
		return connectors.Fetched{}, c.explain(ctx, v)
	}
	return out, nil
}

func (c *connector) fetch(ctx context.Context, a connectors.Attempt) (out connectors.Fetched, err error) {
	made, err := c.latest(ctx)
	if err != nil {
		return out, err
	}
	r, unfit := c.mapper.row(ctx, made, &a, make([]any, c.mapper.width()))
	if ctx.Err() != nil {
		return out, unfit
	}
	if unfit != nil {
		out.Unwritable = unfit.Error()
	}
	if r.keys, err = c.keyOf(made, r.key, nil); err != nil { // nor can the table have it
		out.Unwritable = err.Error()
		return out, nil
	}
	compared, err := c.comparePart(ctx, []connectors.Attempt{a})
	if err != nil {
		return out, err
	}
	there, err := c.db.values(ctx, made, r)
	if err != nil {
		return out, err
	}
	out.Held, out.There = compared[0].Held, there != nil
	for i, col := range c.layout.values {
		p := connectors.Part{Name: col.name}
		if c.mapper.content != "" {
			p.Name = ""
		}
		if out.There {
			p.Theirs = c.shown(there[i])
		}
		if unfit == nil && r.op != events.Delete {
			p.Ours = like(c.shown(r.values[i]), p.Theirs)
		}
		p.Differs = !out.There || r.op == events.Delete || unfit != nil || slices.Contains(compared[0].Changed, col.name)
		if !p.Differs {
			p.Ours = p.Theirs // they may be written in two ways
		}
		out.Parts = append(out.Parts, p)
	}
	return out, nil
}

// shown returns a value of a column as JSON.
func (c *connector) shown(value any) json.RawMessage {
	switch v := value.(type) {
	case nil:
		return json.RawMessage("null")
	case json.RawMessage: // as PostgreSQL writes it
		var text string
		if json.Unmarshal(v, &text) != nil {
			return v
		}
		if digits, ok := strings.CutPrefix(text, `\x`); ok && c.mapper.content == bytesType {
			if data, err := hex.DecodeString(digits); err == nil {
				return document(data)
			}
		}
		return document([]byte(text))
	case []byte:
		return document(v)
	case string:
		return document([]byte(v))
	case time.Time:
		return connectors.TextJSON(v.UTC().Format(time.RFC3339Nano))
	default:
		data, err := json.Marshal(v)
		if err != nil { // a float that JSON does not know
			return connectors.TextJSON(fmt.Sprint(v))
		}
		return data
	}
}

// document returns a text as JSON: one that is an object or an array as that.
func document(data []byte) json.RawMessage {
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
		return connectors.JSONOf(data)
	}
	if out := connectors.JSONOf(data); len(out) > 0 && out[0] == '"' && events.CheckJSON(data) != nil {
		return out // a text, or bytes
	}
	return connectors.TextJSON(string(data))
}

// like returns our value in the form that theirs has: a parameter is a text where the column
// holds a number.
func like(ours, theirs json.RawMessage) json.RawMessage {
	var text string
	if len(theirs) == 0 || theirs[0] == '"' || json.Unmarshal(ours, &text) != nil || events.CheckJSON([]byte(text)) != nil {
		return ours
	}
	return json.RawMessage(text)
}

// scanned returns the values of the one row of a query, nil if there is none. It closes
// found.
func scanned(found *sql.Rows, width int) (values []any, err error) {
	defer func() { err = errors.Join(err, found.Close()) }()
	if !found.Next() {
		return nil, found.Err()
	}
	values = make([]any, width)
	into := make([]any, width)
	for i := range values {
		into[i] = &values[i]
	}
	return values, found.Scan(into...)
}

// valuesOf returns the query for the values of the row of a key, in the dialects whose
// parameters are question marks.
func (l layout) valuesOf(mark string) string {
	names := make([]string, len(l.values))
	for i, c := range l.values {
		names[i] = identifier(c.name, mark)
	}
	where := make([]string, len(l.keys))
	for i, name := range l.keys {
		where[i] = identifier(name, mark) + " = ?"
	}
	return fmt.Sprintf("SELECT %s FROM %s WHERE %s", strings.Join(names, ", "), quoteTable(l.table, mark), strings.Join(where, " AND "))
}

func (s *sqlite) values(ctx context.Context, _ *plan, r row) ([]any, error) {
	found, err := s.db.QueryContext(ctx, s.layout.valuesOf(`"`), r.keys...)
	if err != nil {
		return nil, err
	}
	return scanned(found, len(s.layout.values))
}

func (m *mysql) values(ctx context.Context, _ *plan, r row) ([]any, error) {
	found, err := m.db.QueryContext(ctx, m.layout.valuesOf(mysqlMark), r.keys...)
	if err != nil {
		return nil, err
	}
	return scanned(found, len(m.layout.values))
}

// postgresValues returns the query for the values of the row of a key, each as JSON.
func postgresValues(l postgresLayout) string {
	names, args, fields := make([]string, len(l.values)), make([]string, len(l.keys)), make([]string, len(l.keys))
	for i, c := range l.values {
		names[i] = "to_json(t." + identifier(c.name, `"`) + ")::text"
	}
	for i := range l.keys {
		args[i], fields[i] = fmt.Sprintf("$%d::text[]", i+1), fmt.Sprintf("k%d", i)
	}
	return fmt.Sprintf("SELECT %s FROM unnest(%s) AS i(%s) JOIN %s AS t ON %s AND %s", strings.Join(names, ", "),
		strings.Join(args, ", "), strings.Join(fields, ", "), quoteTable(l.table, `"`), l.sameRow("t"), l.sameBytes("t"))
}

func (p *postgres) values(ctx context.Context, made *plan, r row) (values []any, err error) {
	texts := make([]*string, len(p.layout.values))
	into := make([]any, len(texts))
	for i := range texts {
		into[i] = &texts[i]
	}
	err = p.each(ctx, made.sql.values, p.keyArrays([]string{r.key}), into, func() error {
		values = make([]any, len(texts))
		for i, text := range texts {
			if text != nil {
				values[i] = json.RawMessage(*text)
			}
		}
		return nil
	})
	return values, err
}
