package connsql

import (
	"fmt"
	"slices"
	"strings"
)

// sqliteTime is the form of a timestamp: of one width, so that it sorts.
const sqliteTime = "2006-01-02T15:04:05.000000000Z"

// sqliteUpdatedAt is the form of updated_at, that of SQLite's own strftime with
// %Y-%m-%dT%H:%M:%fZ. The parameter saves a call of it for each row.
const sqliteUpdatedAt = "2006-01-02T15:04:05.000Z"

// sqliteTypes are the types of columns in SQLite. Numbers of any length and
// times are texts: its own types would round them.
func sqliteTypes() map[string]string {
	return map[string]string{
		textType: "TEXT", integerType: "INTEGER", numericType: "TEXT", doubleType: "REAL",
		booleanType: "INTEGER", timestampType: "TEXT", dateType: "TEXT", uuidType: "TEXT",
		jsonType: "TEXT", bytesType: "BLOB",
	}
}

// sqliteStatements: what is looked for comes as a JSON array with an array for each key,
// so that a statement's text does not depend on how many there are.
func sqliteStatements(l layout) statements {
	const mark = `"`
	table := quoteTable(l.table, mark)
	version, nanos := identifier(l.names.Version, mark), identifier(l.names.VersionNanos, mark)
	s := statements{create: []string{sqliteCreate(l)}}
	insert := sqliteInsert(l) + sqliteValues(l)
	find := func(columns []string) string {
		same := make([]string, len(columns))
		for i, column := range quoteAll(columns, mark, "t.") {
			same[i] = fmt.Sprintf("%s = i.value->>%d", column, i)
		}
		return fmt.Sprintf("SELECT i.key, %s FROM json_each(?1) AS i CROSS JOIN %s AS t ON %s",
			strings.Join(quoteAll(l.guardColumns(), mark, "t."), ", "), table, strings.Join(same, " AND "))
	}
	s.held, s.read = find(l.identity()), find(l.keys)
	switch l.mode {
	case appendMode:
		s.write = insert + " ON CONFLICT (" + strings.Join(quoteAll(l.identity(), mark, ""), ", ") + ") DO NOTHING"
		s.rewrite = s.write
		same := l.sameKey(func(c string) string { return "o." + identifier(c, mark) },
			func(c string) string { return "t." + identifier(c, mark) + " COLLATE BINARY" })
		s.read += fmt.Sprintf(" WHERE NOT EXISTS (SELECT 1 FROM %s AS o WHERE %s AND (o.%[3]s, o.%[4]s) > (t.%[3]s, t.%[4]s))", table, same, version, nanos)
	default:
		exact := func(c string) string { return c + " COLLATE BINARY" }
		s.write, s.rewrite = insert+l.onConflict(false, exact), insert+l.onConflict(true, exact)
		s.compare = l.sqliteCompare()
	}
	return s
}

// sqliteInsert is the beginning of a statement that writes rows, up to the
// first one's values. The time of the write is in front: it is the first
// parameter, which all rows share.
func sqliteInsert(l layout) string {
	const mark = `"`
	columns := l.columns()
	last := len(columns) - 1
	columns = append([]string{columns[last]}, columns[:last]...)
	if l.mode == appendMode {
		columns = append(columns, outOfOrderColumn)
	}
	return fmt.Sprintf("INSERT INTO %s AS t (%s) VALUES ", quoteTable(l.table, mark), strings.Join(quoteAll(columns, mark, ""), ", "))
}

// sqliteValues are the values of one row. In the mode append they refer to
// parameters by number, so a statement has one row only.
func sqliteValues(l layout) string {
	const mark = `"`
	marks := "?1" + strings.Repeat(", ?", len(l.columns())-1)
	if l.mode != appendMode {
		return "(" + marks + ")"
	}
	same := make([]string, len(l.keys))
	for i, key := range quoteAll(l.keys, mark, "o.") {
		same[i] = fmt.Sprintf("%s = ?%d", key, i+2)
	}
	return fmt.Sprintf("(%s, EXISTS (SELECT 1 FROM %s AS o WHERE %s AND (o.%s, o.%s) > (?%d, ?%d)))", marks,
		quoteTable(l.table, mark), strings.Join(same, " AND "),
		identifier(l.names.Version, mark), identifier(l.names.VersionNanos, mark), len(l.keys)+2, len(l.keys)+3)
}

func sqliteCreate(l layout) string {
	known := sqliteTypes()
	types := append(slices.Repeat([]string{"TEXT NOT NULL"}, len(l.keys)), "INTEGER NOT NULL", "INTEGER NOT NULL", "TEXT NOT NULL", "TEXT NOT NULL")
	for _, v := range l.values {
		types = append(types, known[v.created()])
	}
	return l.createTable(`"`, append(types, "TEXT NOT NULL"), "INTEGER NOT NULL", "")
}
