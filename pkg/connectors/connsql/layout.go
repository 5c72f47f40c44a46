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
	// keys are the columns that hold the key, one or more.
	keys []string
	// separator is between the parts of a key that more than one column holds.
	separator string
	names     Names
	// values are the columns that hold what the payload says.
	values []column
	// keepOnDelete leaves the values of a row as they are at a delete.
	keepOnDelete bool
	// versions is the table that holds the versions of all keys, because rows are removed at
	// a delete; "" if rows stay.
	versions string
	// adopt takes rows over that have no version.
	adopt bool
	// lossy leaves values that a column cannot hold exactly to the database.
	lossy bool
}

// A column holds a value that comes from the payload.
type column struct {
	name string
	typ  string // one of the types below; "": what the column is in the database
}

// guardColumns are the columns before the values, in the order of every
// statement.
func (l layout) guardColumns() []string {
	return append(slices.Clone(l.keys), l.names.Version, l.names.VersionNanos, l.names.Digest, l.names.Op)
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

// split returns the parts of a key that its columns hold. One that has too few parts has
// empty ones at its end, so what join makes of them is another key.
func (l layout) split(key string) []string {
	if len(l.keys) == 1 {
		return []string{key}
	}
	parts := strings.SplitN(key, l.separator, len(l.keys))
	return append(parts, make([]string, len(l.keys)-len(parts))...)
}

// join is the inverse of split.
func (l layout) join(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	return strings.Join(parts, l.separator)
}

// joinTexts is join for columns that may be NULL.
func (l layout) joinTexts(parts []*string) string {
	texts := make([]string, len(parts))
	for i, part := range parts {
		if part != nil {
			texts[i] = *part
		}
	}
	return l.join(texts)
}

// noted is the layout of the table of versions: a row for each key, without content. It is
// what the guard compares, and it is locked as long as the row itself is written.
func (l layout) noted() layout {
	const key = "key"
	names := l.names
	names.Key = key
	return layout{mode: documentMode, table: l.versions, keys: []string{key}, names: names}
}
