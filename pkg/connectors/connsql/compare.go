package connsql

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// A comparison is what the table holds in the place of one row. same has an element for each
// of layout.values: whether it is that of the row.
type comparison struct {
	holding
	same []bool
}

// mostCompared is how many rows are compared at a time.
const mostCompared = 50

// Compare looks whether the columns still hold what the attempts have written.
func (c *connector) Compare(ctx context.Context, attempts []connectors.Attempt) ([]connectors.Comparison, error) {
	out := make([]connectors.Comparison, 0, len(attempts))
	for part := range slices.Chunk(attempts, mostCompared) {
		compared, err := c.comparePart(ctx, part)
		if err != nil {
			v := c.judge(err)
			if v.noTable && c.autoCreate && ctx.Err() == nil {
				return make([]connectors.Comparison, len(attempts)), nil
			}
			return nil, c.explain(ctx, v)
		}
		out = append(out, compared...)
	}
	return out, nil
}

func (c *connector) comparePart(ctx context.Context, attempts []connectors.Attempt) ([]connectors.Comparison, error) {
	made, err := c.latest(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]connectors.Comparison, len(attempts))
	absent := make(map[int]bool)     // what is held there the versions tell
	misfits := make(map[int]*misfit) // a column that cannot hold the value holds another one
	var rows []row
	for i := range attempts {
		r, err := c.mapper.row(ctx, made, &attempts[i], make([]any, c.mapper.width()))
		if err == nil {
			r.keys, err = c.keyOf(made, r.key, nil)
		}
		if ctx.Err() != nil {
			return nil, err
		}
		absent[i] = true
		if m, ok := errors.AsType[*misfit](err); ok {
			misfits[i] = m
		}
		if r.index = i; err == nil { // else it is none that was written so
			rows = append(rows, r)
		}
	}
	if len(rows) > 0 {
		compared, err := c.db.compare(ctx, made, rows)
		if err != nil {
			return nil, err
		}
		for i, r := range rows {
			if compared[i].there && compared[i].key == r.key {
				delete(absent, r.index)
				out[r.index] = c.comparison(r, compared[i])
			}
		}
	}
	err = c.readAbsent(ctx, attempts, absent, out)
	for i := range out {
		if m := misfits[i]; m != nil && !out[i].IsZero() {
			out[i].Changed = []string{m.column}
		}
		if out[i].Version == attempts[i].Version && out[i].Digest != attempts[i].Digest {
			out[i].Changed = append(out[i].Changed, c.layout.names.Digest)
		}
	}
	return out, err
}

// comparison says how the row of a key differs from what was written. After a delete that
// removes rows, any row differs.
func (c *connector) comparison(r row, there comparison) connectors.Comparison {
	out := connectors.Comparison{Held: there.Held}
	if r.op != events.Delete || !c.layout.keepOnDelete {
		out.Changed = c.changed(there.same)
	}
	if r.op == events.Delete && c.layout.versions != "" {
		out.Changed = append(slices.Clone(c.layout.keys), out.Changed...)
	}
	return out
}

// readAbsent reads what is held of keys that have no row to be compared.
func (c *connector) readAbsent(ctx context.Context, attempts []connectors.Attempt, absent map[int]bool, out []connectors.Comparison) error {
	if len(absent) == 0 {
		return nil
	}
	var keys []string
	at := slices.Sorted(maps.Keys(absent))
	for _, i := range at {
		keys = append(keys, attempts[i].Key)
	}
	there, err := c.readPart(ctx, keys)
	if err != nil {
		return err
	}
	for i, h := range there {
		if h.key == keys[i] {
			out[at[i]].Held = h.Held
		}
	}
	return nil
}

func (c *connector) changed(same []bool) (names []string) {
	for i, is := range same {
		if !is {
			names = append(names, c.layout.values[i].name)
		}
	}
	return names
}

// postgresCompare compares values in the form that their columns give them. What has no
// equality is compared as text, and texts are byte by byte.
func postgresCompare(l postgresLayout) string {
	var args, fields, same []string
	for i := range len(l.keys) + len(l.values) {
		field := fmt.Sprintf("k%d", i)
		if nr := i - len(l.keys); nr >= 0 {
			field = fmt.Sprintf("c%d", nr)
			same = append(same, l.sameValue(l.values[nr], "i."+field))
		}
		args, fields = append(args, fmt.Sprintf("$%d::text[]", i+1)), append(fields, field)
	}
	held := "i.nr, " + l.eachKey(", ", func(_ int, name string) string { return "t." + name + "::text" }) + ", " +
		strings.Join(quoteAll(l.guardColumns()[len(l.keys):], `"`, "t."), ", ")
	return fmt.Sprintf("SELECT %s, ARRAY[%s] FROM unnest(%s) WITH ORDINALITY AS i(%s, nr) JOIN %s AS t ON %s AND %s",
		held, strings.Join(same, ", "), strings.Join(args, ", "), strings.Join(fields, ", "), quoteTable(l.table, `"`), l.sameRow("t"), l.sameBytes("t"))
}

func (l postgresLayout) sameValue(c column, value string) string {
	there, comes := "t."+identifier(c.name, `"`), l.cast(value, c)
	known, ok := l.there[c.name]
	if !ok {
		known.room = postgresCreated(c)
		known.exact = postgresTypes()[c.created()]
	}
	comes = "(" + comes + ")::" + known.exact
	switch known.room.family {
	case jsonType:
		return there + "::jsonb IS NOT DISTINCT FROM " + comes + "::jsonb"
	case "", textType:
		return bytewise(there) + " IS NOT DISTINCT FROM " + bytewise("("+comes+")")
	default:
		return there + " IS NOT DISTINCT FROM " + comes
	}
}

func (p *postgres) compare(ctx context.Context, made *plan, rows []row) ([]comparison, error) {
	all, width := p.arrays(rows), len(p.layout.keys)
	args := slices.Concat(all[:width], all[width+notedColumns:])
	out := make([]comparison, len(rows))
	parts := make([]*string, width)
	var nr int
	var version *int64
	var nanos *int32
	var digest, op *string
	var same []bool
	into := []any{&nr}
	for i := range parts {
		into = append(into, &parts[i])
	}
	err := p.each(ctx, made.sql.compare, args, append(into, &version, &nanos, &digest, &op, &same), func() error {
		h := held(version, nanos, digest, op)
		h.key = p.layout.joinTexts(parts)
		out[nr-1] = comparison{h, slices.Clone(same)}
		return nil
	})
	return out, err
}

// mysqlCompare returns the query for one row. Numbers and times are compared as their
// columns' types, since a text beside a number would be taken for a double.
func (l layout) mysqlCompare(rooms func(column) room) string {
	var same []string
	for _, c := range l.values {
		there := "t." + identifier(c.name, mysqlMark)
		comes := "?"
		switch r := rooms(c); r.family {
		case integerType, flagType, yearType:
			there, comes = there+" + 0", "CAST(? AS DECIMAL(65,0))"
		case numericType:
			comes = fmt.Sprintf("CAST(? AS DECIMAL(65,%d))", r.scale)
		case doubleType:
			comes = "(? + 0e0)"
		case timestampType, localType:
			comes = "CAST(? AS DATETIME(6))"
		case dateType:
			comes = "CAST(? AS DATE)"
		case clockType:
			comes = "CAST(? AS TIME(6))"
		case bytesType:
			there, comes = "CAST("+there+" AS BINARY)", "CAST(? AS BINARY)"
		case jsonType:
			if r.bits > 0 {
				comes = "CAST(? AS JSON)"
			} else {
				there, comes = "CAST(CAST("+there+" AS CHAR) AS BINARY)", "CAST(? AS BINARY)"
			}
		case textType, setType:
			there, comes = "CAST(CAST("+there+" AS CHAR) AS BINARY)", "CAST(? AS BINARY)"
		}
		same = append(same, there+" <=> "+comes)
	}
	return fmt.Sprintf("SELECT ?, %s, %s FROM %s AS t WHERE %s", l.mysqlGuard(), strings.Join(same, ", "),
		quoteTable(l.table, mysqlMark), l.mysqlIn(l.keys, "t.", 1))
}

func (m *mysql) compare(ctx context.Context, made *plan, rows []row) ([]comparison, error) {
	var args []any
	for i, r := range rows {
		args = append(appendValues(append(args, i), r, mysqlTime), r.keys...)
	}
	text := strings.TrimSuffix(strings.Repeat("("+made.sql.compare+") UNION ALL ", len(rows)), " UNION ALL ")
	found, err := m.db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	out := make([]comparison, len(rows))
	var nr int
	same := make([]bool, len(m.layout.values))
	err = m.layout.eachHolding(found, []any{&nr}, same, func(h holding) { out[nr] = comparison{h, slices.Clone(same)} })
	return out, err
}

// sqliteCompare returns the query for mostCompared rows: for fewer, the keys of the rest
// are NULL and find nothing. A value that comes from the list has no affinity, as a
// parameter has none: the column's decides how the two are compared.
func (l layout) sqliteCompare() string {
	var same, found []string
	fields := []string{"nr"}
	for i, name := range l.keys {
		field := fmt.Sprintf("k%d", i)
		fields, found = append(fields, field), append(found, "t."+identifier(name, `"`)+" = i."+field)
	}
	for i, c := range l.values {
		field := fmt.Sprintf("c%d", i)
		fields, same = append(fields, field), append(same, "t."+identifier(c.name, `"`)+" COLLATE BINARY IS i."+field)
	}
	row := "(" + strings.TrimSuffix(strings.Repeat("?,", len(fields)), ",") + ")"
	return fmt.Sprintf("WITH i(%s) AS (VALUES %s) SELECT i.nr, %s, %s FROM i CROSS JOIN %s AS t WHERE %s", strings.Join(fields, ", "),
		strings.TrimSuffix(strings.Repeat(row+",", mostCompared), ","), strings.Join(quoteAll(l.guardColumns(), `"`, "t."), ", "),
		strings.Join(same, ", "), quoteTable(l.table, `"`), strings.Join(found, " AND "))
}

func (s *sqlite) compare(ctx context.Context, _ *plan, rows []row) ([]comparison, error) {
	width := 1 + len(s.layout.keys) + len(s.layout.values)
	args := make([]any, 0, mostCompared*width)
	for i, r := range rows {
		args = appendValues(append(append(args, i), r.keys...), r, sqliteTime)
	}
	text := s.sql.compare
	stmt, err := s.compiled(ctx, text) //nolint:sqlclosecheck // it stays compiled
	if err != nil {
		return nil, err
	}
	found, err := stmt.QueryContext(ctx, args[:cap(args)]...)
	if err != nil {
		return nil, s.recheck(ctx, s.db, text, err)
	}
	out := make([]comparison, len(rows))
	var nr int
	same := make([]bool, len(s.layout.values))
	err = s.layout.eachHolding(found, []any{&nr}, same, func(h holding) { out[nr] = comparison{h, slices.Clone(same)} })
	if err != nil {
		return nil, s.recheck(ctx, s.db, text, err)
	}
	return out, nil
}
