package connsql

import (
	"fmt"
	"strings"
)

// statements are the texts that one connector runs.
type statements struct {
	write   string // guarded upsert
	rewrite string // the same, but the content that is there is written again
	held    string // what keeps rows from being written
	read    string // the newest of many keys
	create  string
}

// A side names the columns of one of the two rows that the guard compares.
type side func(column string) string

// newer is the guard: it holds if the row that comes has a newer version than
// the one that is there. Versions of different kinds are never newer.
func (l layout) newer(there, comes side) string {
	v, n := l.names.Version, l.names.VersionNanos
	return fmt.Sprintf("(%s < 0) = (%s < 0) AND (%s, %s) < (%s, %s)",
		there(n), comes(n), there(v), there(n), comes(v), comes(n))
}

// newerOrSame lets the same content of the same version through too.
func (l layout) newerOrSame(there, comes side) string {
	v, n, d := l.names.Version, l.names.VersionNanos, l.names.Digest
	return fmt.Sprintf("(%s OR (%s, %s, %s) = (%s, %s, %s))", l.newer(there, comes),
		there(v), there(n), there(d), comes(v), comes(n), comes(d))
}

// onConflict is the guarded half of an upsert as PostgreSQL and SQLite write it
// (guarantee 2). The table has the alias t.
func (l layout) onConflict(again bool) string {
	there := func(c string) string { return "t." + identifier(c, `"`) }
	comes := func(c string) string { return "excluded." + identifier(c, `"`) }
	var set []string
	for _, name := range l.columns()[1:] {
		value := comes(name)
		if l.keepOnDelete && l.isValue(name) {
			value = fmt.Sprintf("CASE %s WHEN 'delete' THEN %s ELSE %s END", comes(l.names.Op), there(name), value)
		}
		set = append(set, identifier(name, `"`)+" = "+value)
	}
	guard := l.newer(there, comes)
	if again {
		guard = l.newerOrSame(there, comes)
	}
	return fmt.Sprintf(" ON CONFLICT (%s) DO UPDATE SET %s WHERE %s", identifier(l.names.Key, `"`), strings.Join(set, ", "), guard)
}

// createTable puts the statement together that makes the table. types are those
// of layout.columns, in their order; flag is the type of a boolean.
func (l layout) createTable(mark string, types []string, flag, options string) string {
	var parts []string
	for i, name := range l.columns() {
		parts = append(parts, identifier(name, mark)+" "+types[i])
	}
	if l.mode == appendMode {
		parts = append(parts, identifier(outOfOrderColumn, mark)+" "+flag)
	}
	parts = append(parts, "PRIMARY KEY ("+strings.Join(quoteAll(l.identity(), mark, ""), ", ")+")")
	return "CREATE TABLE IF NOT EXISTS " + quoteTable(l.table, mark) + " (" + strings.Join(parts, ", ") + ")" + options
}

// identity are the columns that no two rows have alike.
func (l layout) identity() []string {
	if l.mode == appendMode {
		return []string{l.names.Key, l.names.Version, l.names.VersionNanos}
	}
	return []string{l.names.Key}
}
