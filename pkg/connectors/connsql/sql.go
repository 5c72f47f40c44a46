package connsql

import (
	"fmt"
	"slices"
	"strings"
)

// statements are the texts that one connector runs.
type statements struct {
	write   string // guarded upsert
	rewrite string // the same, but the content that is there is written again
	// note and renote are write and rewrite for the table of versions, remove is what a
	// delete does to the row then, and noted reads that table.
	note, renote, remove, noted string
	held                        string // what keeps rows from being written
	read                        string // the newest of many keys
	compare                     string // those of rows, and which of their values are others
	values                      string // those of the row of a key, for PostgreSQL
	create                      []string
}

// A side names the columns of one of the two rows that the guard compares.
type side func(column string) string

// newer is the guard: it holds if the row that comes has a newer version than
// the one that is there, or that one has none and may be adopted. Versions of different
// kinds are never newer.
func (l layout) newer(there, comes side) string {
	v, n := l.names.Version, l.names.VersionNanos
	newer := fmt.Sprintf("(%s < 0) = (%s < 0) AND (%s, %s) < (%s, %s)",
		there(n), comes(n), there(v), there(n), comes(v), comes(n))
	if l.adopt {
		return fmt.Sprintf("(%s IS NULL OR %s)", there(v), newer)
	}
	return newer
}

// newerOrSame lets the same content of the same version through too.
func (l layout) newerOrSame(there, comes side) string {
	v, n, d := l.names.Version, l.names.VersionNanos, l.names.Digest
	return fmt.Sprintf("(%s OR (%s, %s, %s) = (%s, %s, %s))", l.newer(there, comes),
		there(v), there(n), there(d), comes(v), comes(n), comes(d))
}

// sameKey holds if the two rows have one key byte by byte: a collation or a type may take
// two keys for one, and the row of another key must stay as it is.
func (l layout) sameKey(there, comes side) string {
	same := make([]string, len(l.keys))
	for i, key := range l.keys {
		same[i] = there(key) + " = " + comes(key)
	}
	return strings.Join(same, " AND ")
}

// onConflict is the guarded half of an upsert as PostgreSQL and SQLite write it
// (guarantee 2). The table has the alias t; exact is the form of a key's column in which
// only the same bytes are equal.
func (l layout) onConflict(again bool, exact func(column string) string) string {
	there := func(c string) string { return "t." + identifier(c, `"`) }
	comes := func(c string) string { return "excluded." + identifier(c, `"`) }
	var set []string
	for _, name := range l.columns()[len(l.keys):] {
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
	same := l.sameKey(func(c string) string { return exact(there(c)) }, func(c string) string { return exact(comes(c)) })
	return fmt.Sprintf(" ON CONFLICT (%s) DO UPDATE SET %s WHERE %s AND %s",
		strings.Join(quoteAll(l.keys, `"`, ""), ", "), strings.Join(set, ", "), same, guard)
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
		return append(slices.Clone(l.keys), l.names.Version, l.names.VersionNanos)
	}
	return l.keys
}
