package connsql

import (
	"slices"
	"strings"
)

// A layout is the table that a connector writes: names as they are, not quoted.
// Nothing of a payload or a key ever becomes a part of a statement's text.
type layout struct {
	mode  string
	table string
	names Names
	// values are the columns that hold what the payload says.
	values []column
	// keepOnDelete leaves the values of a row as they are at a delete.
	keepOnDelete bool
}

// A column holds a value that comes from the payload.
type column struct {
	name string
	typ  string // one of the types below
}

// guardColumns are the columns before the values, in the order of every
// statement.
func (l layout) guardColumns() []string {
	return []string{l.names.Key, l.names.Version, l.names.VersionNanos, l.names.Digest, l.names.Op}
}

// columns are all columns in the order of an insert.
func (l layout) columns() []string {
	all := l.guardColumns()
	for _, v := range l.values {
		all = append(all, v.name)
	}
	return append(all, l.names.UpdatedAt)
}

// identifier quotes a name with the mark of the dialect, which is doubled inside
// of it.
func identifier(name, mark string) string {
	return mark + strings.ReplaceAll(name, mark, mark+mark) + mark
}

// quoteTable quotes each part of a table's name.
func quoteTable(name, mark string) string {
	parts := strings.Split(name, ".")
	for i, part := range parts {
		parts[i] = identifier(part, mark)
	}
	return strings.Join(parts, ".")
}

// quoteAll quotes names and puts a prefix before each.
func quoteAll(names []string, mark, prefix string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + identifier(n, mark)
	}
	return out
}

// isValue reports whether a column holds what the payload says.
func (l layout) isValue(name string) bool {
	return slices.ContainsFunc(l.values, func(c column) bool { return c.name == name })
}
