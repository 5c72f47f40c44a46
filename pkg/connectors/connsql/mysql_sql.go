package connsql

import (
	"fmt"
	"slices"
	"strings"
)

// mysqlTime is the form of a timestamp, in UTC; the column has no zone.
const mysqlTime = "2006-01-02 15:04:05.000000"

// mysqlTypes are the types of columns in MySQL and MariaDB.
func mysqlTypes() map[string]string {
	return map[string]string{
		textType: "LONGTEXT", integerType: "BIGINT", numericType: "DECIMAL(65,20)", doubleType: "DOUBLE",
		booleanType: "BOOLEAN", timestampType: "DATETIME(6)", dateType: "DATE", uuidType: "CHAR(36)",
		jsonType: "JSON", bytesType: "LONGBLOB",
	}
}

const mysqlMark = "`"

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

// repeat returns n times the same text, with commas between.
func repeat(text string, n int) string {
	return strings.TrimSuffix(strings.Repeat(text+", ", n), ", ")
}

// mysqlWrite returns the upsert of n rows.
func (l layout) mysqlWrite(n int, again bool) string {
	columns := l.columns()
	table := quoteTable(l.table, mysqlMark)
	names := strings.Join(quoteAll(columns, mysqlMark, ""), ", ")
	if l.mode == appendMode {
		return fmt.Sprintf("INSERT INTO %s (%s, %s) %s ON DUPLICATE KEY UPDATE %[5]s = %[1]s.%[5]s", table, names,
			identifier(outOfOrderColumn, mysqlMark), l.mysqlHistory(n), identifier(l.names.Version, mysqlMark))
	}
	one := "(" + repeat("?", len(columns)-1) + ", UTC_TIMESTAMP(6))"
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES %s ON DUPLICATE KEY UPDATE %s", table, names, repeat(one, n), l.mysqlSet(again))
}

// mysqlHistory returns the rows of the mode append as a query, which may look
// into the table that they go to.
func (l layout) mysqlHistory(n int) string {
	fields := make([]string, len(l.columns())-1)
	marks := make([]string, len(fields))
	for i := range fields {
		fields[i], marks[i] = fmt.Sprintf("i.c%d", i), fmt.Sprintf("? AS c%d", i)
	}
	rows := "SELECT " + strings.Join(marks, ", ") + strings.Repeat(" UNION ALL SELECT "+repeat("?", len(fields)), n-1)
	v, n1 := len(l.keys), len(l.keys)+1
	same := make([]string, v)
	for i, key := range l.keys {
		same[i] = fmt.Sprintf("o.%s = i.c%d", identifier(key, mysqlMark), i)
	}
	return fmt.Sprintf("SELECT %s, UTC_TIMESTAMP(6), EXISTS (SELECT 1 FROM %s AS o WHERE %s AND (o.%s, o.%s) > (i.c%d, i.c%d)) FROM (%s) AS i",
		strings.Join(fields, ", "), quoteTable(l.table, mysqlMark), strings.Join(same, " AND "),
		identifier(l.names.Version, mysqlMark), identifier(l.names.VersionNanos, mysqlMark), v, n1, rows)
}

// mysqlSet returns the guarded assignments of an upsert (guarantee 2). They run
// from left to right and see each other's effect, so the columns that the guard
// compares come last, the version after its nanoseconds: what the guard has let
// through it still lets through, and what it has kept back did not change.
//
// A row that clashes with a row of another key in another unique index must not
// change that row, so the guard compares the keys too, byte by byte.
func (l layout) mysqlSet(again bool) string {
	there := func(c string) string { return identifier(c, mysqlMark) }
	comes := func(c string) string { return "VALUES(" + identifier(c, mysqlMark) + ")" }
	guard := l.newer(there, comes)
	if again {
		guard = l.newerOrSame(there, comes)
	}
	bytewise := func(of side) side {
		return func(c string) string { return "CAST(" + of(c) + " AS BINARY)" }
	}
	guard = l.sameKey(bytewise(there), bytewise(comes)) + " AND " + guard
	var set []string
	assign := func(name, value string) {
		set = append(set, fmt.Sprintf("%[1]s = IF(%[2]s, %[3]s, %[1]s)", there(name), guard, value))
	}
	for _, v := range l.values {
		value := comes(v.name)
		if l.keepOnDelete {
			value = fmt.Sprintf("IF(%s = 'delete', %s, %s)", comes(l.names.Op), there(v.name), value)
		}
		assign(v.name, value)
	}
	for _, name := range []string{l.names.Op, l.names.UpdatedAt, l.names.Digest, l.names.VersionNanos, l.names.Version} {
		assign(name, comes(name))
	}
	return strings.Join(set, ", ")
}

// mysqlRead returns the query for the newest of n keys.
func (l layout) mysqlRead(n int) string {
	table := quoteTable(l.table, mysqlMark)
	text := l.mysqlFind(l.keys, n)
	if l.mode == appendMode {
		same := make([]string, len(l.keys))
		for i, key := range quoteAll(l.keys, mysqlMark, "") {
			same[i] = fmt.Sprintf("o.%[1]s = t.%[1]s AND CAST(o.%[1]s AS BINARY) = CAST(t.%[1]s AS BINARY)", key)
		}
		text += fmt.Sprintf(" AND NOT EXISTS (SELECT 1 FROM %s AS o WHERE %s AND (o.%[3]s, o.%[4]s) > (t.%[3]s, t.%[4]s))",
			table, strings.Join(same, " AND "), identifier(l.names.Version, mysqlMark), identifier(l.names.VersionNanos, mysqlMark))
	}
	return text
}

// mysqlHeld returns the query for what is in the way of n rows.
func (l layout) mysqlHeld(n int) string { return l.mysqlFind(l.identity(), n) }

// mysqlFind returns the query for rows by the values of columns.
func (l layout) mysqlFind(columns []string, n int) string {
	return fmt.Sprintf("SELECT %s FROM %s AS t WHERE %s", l.mysqlGuard(), quoteTable(l.table, mysqlMark), l.mysqlIn(columns, "t.", n))
}

// mysqlIn returns the condition that columns, with a prefix before each, have one of n values.
func (l layout) mysqlIn(columns []string, prefix string, n int) string {
	one, list := "?", strings.Join(quoteAll(columns, mysqlMark, prefix), ", ")
	if len(columns) > 1 {
		one, list = "("+repeat("?", len(columns))+")", "("+list+")"
	}
	return fmt.Sprintf("%s IN (%s)", list, repeat(one, n))
}

func (l layout) mysqlGuard() string {
	return strings.Join(quoteAll(l.guardColumns(), mysqlMark, "t."), ", ")
}

// mysqlCreate keeps keys as bytes: each collation that both servers have takes
// some different keys for the same.
func (l layout) mysqlCreate() string {
	known := mysqlTypes()
	types := append(slices.Repeat([]string{"VARBINARY(1024) NOT NULL"}, len(l.keys)), "BIGINT NOT NULL", "INT NOT NULL",
		"CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL", "VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL")
	for _, v := range l.values {
		types = append(types, known[v.created()])
	}
	return l.createTable(mysqlMark, append(types, "DATETIME(6) NOT NULL"), "BOOLEAN NOT NULL", " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4")
}
