package connsql

import (
	"fmt"
	"slices"
	"strings"
)

// postgresTypes are the types of columns in PostgreSQL. The keys are also what
// this dialect knows.
func postgresTypes() map[string]string {
	return map[string]string{
		textType: "text", integerType: "bigint", numericType: "numeric", doubleType: "double precision",
		booleanType: "boolean", timestampType: "timestamptz", dateType: "date", uuidType: "uuid",
		jsonType: "jsonb", bytesType: "bytea",
		textArray: "text[]", integerArray: "bigint[]", numericArray: "numeric[]",
	}
}

// A postgresLayout is a layout with what the catalog says of its columns. A column of
// which it says nothing is as the connector creates it.
type postgresLayout struct {
	layout
	there map[string]postgresColumn
}

// cast turns a text into the type of a column, without its length or precision: what is
// cut or rounded on the way into the column is an error where the database has one.
func (l postgresLayout) cast(expression string, c column) string {
	known, ok := l.there[c.name]
	switch {
	case !ok:
		return expression + "::" + postgresTypes()[c.created()]
	case known.money: // its own text form depends on the server's locale
		return expression + "::numeric::money"
	default:
		return expression + "::" + known.cast
	}
}

// key turns a text into what the column of a key holds of it.
func (l postgresLayout) key(i int, expression string) string {
	if known, ok := l.there[l.keys[i]]; ok {
		return expression + "::" + known.exact
	}
	return expression
}

// plainKey reports whether a key's column holds every text as it is.
func (l postgresLayout) plainKey(i int) bool {
	known, ok := l.there[l.keys[i]]
	return !ok || known.exact == "text"
}

// bytewise is the form of a key in which only the same bytes are equal.
func bytewise(expression string) string { return expression + `::text COLLATE "C"` }

func keyField(i int) string { return fmt.Sprintf("i.k%d", i) }

// eachKey joins what format makes of each key column and its field.
func (l postgresLayout) eachKey(with string, format func(i int, name string) string) string {
	parts := make([]string, len(l.keys))
	for i, name := range l.keys {
		parts[i] = format(i, identifier(name, `"`))
	}
	return strings.Join(parts, with)
}

// sameRow holds for the row of the table, alias t, that the database takes for that of i.
func (l postgresLayout) sameRow(alias string) string {
	return l.eachKey(" AND ", func(i int, name string) string { return alias + "." + name + " = " + l.key(i, keyField(i)) })
}

// sameBytes holds if the key of that row is that of i, byte by byte.
func (l postgresLayout) sameBytes(alias string) string {
	return l.eachKey(" AND ", func(i int, name string) string {
		return bytewise(alias+"."+name) + " = " + keyField(i)
	})
}

// keptKey holds if the columns of the key hold it as it is written; "" if they hold all.
func (l postgresLayout) keptKey() string {
	var parts []string
	for i := range l.keys {
		if !l.plainKey(i) {
			parts = append(parts, bytewise("("+l.key(i, keyField(i))+")")+" = "+keyField(i))
		}
	}
	return strings.Join(parts, " AND ")
}

// given are the parameters that say which keys are asked for, as a table i with the
// position of each.
func (l postgresLayout) given(more ...string) string {
	var args, fields []string
	for i := range l.keys {
		args, fields = append(args, fmt.Sprintf("$%d::text[]", i+1)), append(fields, fmt.Sprintf("k%d", i))
	}
	for i, name := range more {
		typ := map[string]string{"v": "bigint", "n": "integer"}[name]
		args, fields = append(args, fmt.Sprintf("$%d::%s[]", len(l.keys)+i+1, typ)), append(fields, name)
	}
	return fmt.Sprintf("unnest(%s) WITH ORDINALITY AS i(%s, nr)", strings.Join(args, ", "), strings.Join(fields, ", "))
}

// postgresStatements returns the texts for a layout. Values travel as one array
// for each column, so a statement's text does not depend on the number of rows
// and is prepared once.
func postgresStatements(l postgresLayout) statements {
	const mark = `"`
	table := quoteTable(l.table, mark)
	version, nanos := identifier(l.names.Version, mark), identifier(l.names.VersionNanos, mark)
	guards := quoteAll(l.guardColumns()[len(l.keys):], mark, "t.")
	// The row in the way, with the key that it has and the one that its columns would hold.
	held := "i.nr, " + l.eachKey(", ", func(i int, name string) string { return "t." + name + "::text" }) + ", " +
		l.eachKey(", ", func(i int, name string) string { return "(" + l.key(i, keyField(i)) + ")::text" }) + ", " + strings.Join(guards, ", ")
	insert := postgresInsert(l)
	s := statements{create: postgresTables(l.layout)}
	switch l.mode {
	case appendMode:
		s.write = insert + " ON CONFLICT DO NOTHING"
		s.rewrite = s.write
		s.held = fmt.Sprintf("SELECT %s FROM %s LEFT JOIN %s AS t ON %s AND (t.%s, t.%s) = (i.v, i.n)",
			held, l.given("v", "n"), table, l.sameRow("t"), version, nanos)
		s.read = fmt.Sprintf("SELECT DISTINCT ON (i.nr) %s FROM %s JOIN %s AS t ON %s AND %s ORDER BY i.nr, t.%s DESC, t.%s DESC",
			held, l.given(), table, l.sameRow("t"), l.sameBytes("t"), version, nanos)
	default:
		exact := func(c string) string { return bytewise(c) }
		s.write, s.rewrite = insert+l.onConflict(false, exact), insert+l.onConflict(true, exact)
		s.held = fmt.Sprintf("SELECT %s FROM %s LEFT JOIN %s AS t ON %s", held, l.given(), table, l.sameRow("t"))
		s.read = s.held
		s.compare, s.values = postgresCompare(l), postgresValues(l)
	}
	if l.versions != "" {
		noted := postgresStatements(postgresLayout{layout: l.noted()})
		s.note, s.renote, s.noted = noted.write, noted.rewrite, noted.read
		s.remove = postgresRemove(l)
	}
	return s
}

// isNoted joins the table of versions, in which the statement before has noted the rows that
// it let through, and has locked those of all (guarantee 2).
func (l postgresLayout) isNoted() string {
	noted := l.noted()
	parts := make([]string, len(l.keys))
	for i := range l.keys {
		parts[i] = keyField(i)
	}
	key := strings.Join(parts, " || '"+strings.ReplaceAll(l.separator, "'", "''")+"' || ")
	columns := strings.Join(quoteAll([]string{l.names.Version, l.names.VersionNanos, l.names.Digest}, `"`, "n."), ", ")
	return fmt.Sprintf(" JOIN %s AS n ON n.%s = %s AND (%s) = (i.v, i.n, i.d)", quoteTable(noted.table, `"`), identifier(noted.keys[0], `"`), key, columns)
}

// postgresRemove removes the rows of the deletes that were noted.
func postgresRemove(l postgresLayout) string {
	var args, fields []string
	for i := range l.keys {
		args, fields = append(args, fmt.Sprintf("$%d::text[]", i+1)), append(fields, fmt.Sprintf("k%d", i))
	}
	for i, typ := range []string{"bigint", "integer", "text", "text"} {
		args = append(args, fmt.Sprintf("$%d::%s[]", len(l.keys)+i+1, typ))
	}
	there := func(c string) string { return "t." + identifier(c, `"`) }
	comes := func(c string) string {
		switch c {
		case l.names.Version:
			return "i.v"
		case l.names.Digest:
			return "i.d"
		default:
			return "i.n"
		}
	}
	return fmt.Sprintf("DELETE FROM %s AS t USING unnest(%s) AS i(%s, v, n, d, o)%s WHERE i.o = 'delete' AND %s AND %s AND %s",
		quoteTable(l.table, `"`), strings.Join(args, ", "), strings.Join(fields, ", "), l.isNoted(), l.sameRow("t"), l.sameBytes("t"), l.newerOrSame(there, comes))
}

func postgresInsert(l postgresLayout) string {
	const mark = `"`
	types := append(slices.Repeat([]string{"text"}, len(l.keys)), "bigint", "integer", "text", "text")
	names := []string{"v", "n", "d", "o"}
	var args, fields, picks []string
	for i := range len(types) + len(l.values) {
		typ, field := "text", fmt.Sprintf("c%d", i)
		pick := "i." + field
		switch nr := i - len(types); {
		case i < len(l.keys):
			field = fmt.Sprintf("k%d", i)
			pick = l.key(i, keyField(i))
		case nr < 0:
			typ, field = types[i], names[i-len(l.keys)]
			pick = "i." + field
		default:
			pick = l.cast(pick, l.values[nr])
		}
		args, fields, picks = append(args, fmt.Sprintf("$%d::%s[]", i+1, typ)), append(fields, field), append(picks, pick)
	}
	columns, values := l.columns(), append(picks, "clock_timestamp()")
	if l.mode == appendMode {
		columns = append(columns, outOfOrderColumn)
		values = append(values, fmt.Sprintf("EXISTS (SELECT FROM %s AS o WHERE %s AND %s AND (o.%s, o.%s) > (i.v, i.n))",
			quoteTable(l.table, mark), l.sameRow("o"), l.sameBytes("o"), identifier(l.names.Version, mark), identifier(l.names.VersionNanos, mark)))
	}
	text := fmt.Sprintf("INSERT INTO %s AS t (%s) SELECT %s FROM unnest(%s) AS i(%s)",
		quoteTable(l.table, mark), strings.Join(quoteAll(columns, mark, ""), ", "), strings.Join(values, ", "),
		strings.Join(args, ", "), strings.Join(fields, ", "))
	var where []string
	if l.versions != "" {
		text += l.isNoted()
		where = append(where, "i.o <> 'delete'")
	}
	if kept := l.keptKey(); kept != "" {
		where = append(where, kept)
	}
	if len(where) > 0 {
		text += " WHERE " + strings.Join(where, " AND ")
	}
	return text
}

// postgresTables are the statements that make what is missing.
func postgresTables(l layout) []string {
	if l.versions == "" {
		return []string{postgresCreate(l)}
	}
	return []string{postgresCreate(l), postgresCreate(l.noted())}
}

func postgresCreate(l layout) string {
	const mark = `"`
	known := postgresTypes()
	types := append(slices.Repeat([]string{`text COLLATE "C" NOT NULL`}, len(l.keys)), "bigint NOT NULL", "integer NOT NULL", "text NOT NULL", "text NOT NULL")
	for _, v := range l.values {
		types = append(types, known[v.created()])
	}
	return l.createTable(mark, append(types, "timestamptz NOT NULL"), "boolean NOT NULL", "")
}
