package connsql

import (
	"fmt"
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

func sqliteStatements(l layout) statements {
	const mark = `"`
	table, key := quoteTable(l.table, mark), identifier(l.names.Key, mark)
	version, nanos := identifier(l.names.Version, mark), identifier(l.names.VersionNanos, mark)
	guard := strings.Join(quoteAll(l.guardColumns(), mark, "t."), ", ")
	s := statements{create: sqliteCreate(l)}
	insert := sqliteInsert(l) + sqliteValues(l)
	switch l.mode {
	case appendMode:
		s.write = insert + fmt.Sprintf(" ON CONFLICT (%s, %s, %s) DO NOTHING", key, version, nanos)
		s.rewrite = s.write
		s.held = fmt.Sprintf("SELECT %s FROM json_each(?1) AS i JOIN %s AS t ON t.%s = i.value->>0 AND t.%s = i.value->>1 AND t.%s = i.value->>2",
			guard, table, key, version, nanos)
		s.read = fmt.Sprintf("SELECT %[1]s FROM %[2]s AS t WHERE t.%[3]s IN (SELECT value FROM json_each(?1)) AND NOT EXISTS "+
			"(SELECT 1 FROM %[2]s AS o WHERE o.%[3]s = t.%[3]s AND (o.%[4]s, o.%[5]s) > (t.%[4]s, t.%[5]s))", guard, table, key, version, nanos)
	default:
		s.write, s.rewrite = insert+l.onConflict(false), insert+l.onConflict(true)
		s.read = fmt.Sprintf("SELECT %s FROM %s AS t WHERE t.%s IN (SELECT value FROM json_each(?1))", guard, table, key)
		s.held = s.read
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
	return fmt.Sprintf("(%s, EXISTS (SELECT 1 FROM %s AS o WHERE o.%s = ?2 AND (o.%s, o.%s) > (?3, ?4)))", marks,
		quoteTable(l.table, mark), identifier(l.names.Key, mark), identifier(l.names.Version, mark), identifier(l.names.VersionNanos, mark))
}

func sqliteCreate(l layout) string {
	known := sqliteTypes()
	types := []string{"TEXT NOT NULL", "INTEGER NOT NULL", "INTEGER NOT NULL", "TEXT NOT NULL", "TEXT NOT NULL"}
	for _, v := range l.values {
		types = append(types, known[v.typ])
	}
	return l.createTable(`"`, append(types, "TEXT NOT NULL"), "INTEGER NOT NULL", "")
}
