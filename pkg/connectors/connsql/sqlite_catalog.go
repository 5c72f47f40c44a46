package connsql

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// columns returns the declared types of the table's columns, by their names in small
// letters. ANY of a table that is STRICT keeps values as they are, so it is like none; in
// another table it is a word like STRING.
func (s *sqlite) columns(ctx context.Context) (_ map[string]string, err error) {
	schema, name, ok := strings.Cut(s.layout.table, ".")
	if !ok {
		schema, name = "main", schema
	}
	const text = `SELECT lower(name), CASE WHEN upper(type) = 'ANY' AND EXISTS (
		SELECT 1 FROM pragma_table_list WHERE schema = ?2 COLLATE NOCASE AND name = ?1 COLLATE NOCASE AND strict) THEN '' ELSE upper(type) END
		FROM pragma_table_xinfo(?1, ?2)`
	found, err := s.db.QueryContext(ctx, text, name, schema)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	there := make(map[string]string)
	for found.Next() {
		var name, typ string
		if err := found.Scan(&name, &typ); err != nil {
			return nil, err
		}
		there[name] = typ
	}
	return there, found.Err()
}

// Affinities of SQLite's columns.
const (
	textAffinity    = "TEXT"
	integerAffinity = "INTEGER"
	realAffinity    = "REAL"
	numericAffinity = "NUMERIC"
	noAffinity      = "BLOB"
)

// affinityOf says what a column makes of its values. https://sqlite.org/datatype3.html, 3.1.
func affinityOf(declared string) string {
	has := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(declared, word) {
				return true
			}
		}
		return false
	}
	switch {
	case has("INT"):
		return integerAffinity
	case has("CHAR", "CLOB", "TEXT"):
		return textAffinity
	case declared == "", has("BLOB"):
		return noAffinity
	case has("REAL", "FLOA", "DOUB"):
		return realAffinity
	default:
		return numericAffinity
	}
}

// sqliteRoom is the room of a column with a declared type.
func sqliteRoom(declared string) room {
	switch affinityOf(declared) {
	case textAffinity:
		return room{family: textType}
	case noAffinity:
		r := room{affine: true, keepsTexts: true}
		if declared == "BLOB" {
			r.family = bytesType
		}
		return r
	case integerAffinity:
		return room{family: flagType, affine: true}
	case realAffinity:
		return room{family: doubleType, affine: true, bits: 53}
	}
	family := textType // a date, and what SQLite does not know, as STRING
	switch {
	case strings.Contains(declared, "BOOL"):
		family = booleanType
	case strings.Contains(declared, "JSON"):
		family = jsonType
	case strings.Contains(declared, "DEC"), strings.Contains(declared, "NUM"), strings.Contains(declared, "MONEY"):
		family = numericType
	}
	return room{family: family, affine: true}
}

// sqliteKeyer: see mysqlColumn.keyer.
func sqliteKeyer(name, declared string) (keyer, error) {
	affinity := affinityOf(declared)
	if declared == "ANY" {
		affinity = realAffinity // nobody means the numbers that it makes of texts
	}
	switch affinity {
	case realAffinity:
		return nil, fmt.Errorf("%w: %s is of the type %s; one of text or integers can", errKeyColumn, name, declared)
	case textAffinity, noAffinity:
		return func(part string) (any, error) { return part, nil }, nil
	default:
		return func(part string) (any, error) {
			if n, err := integerKey(part); err == nil {
				if _, ok := n.(int64); ok {
					return n, nil
				}
			}
			if (room{affine: true}).unlikeNumber(part) != nil {
				return nil, errors.New("its column would turn it into another number")
			}
			return part, nil
		}, nil
	}
}

// plan returns the plan that is kept, or makes one.
func (s *sqlite) plan(ctx context.Context) (*plan, error) {
	if kept := s.kept.Load(); kept.fresh() {
		return kept, nil
	}
	there, err := s.columns(ctx)
	if err != nil {
		return nil, err
	}
	made, err := s.planOf(there)
	if err == nil && len(there) > 0 { // else the table is not there yet
		s.kept.Store(made)
	}
	return made, err
}

func (s *sqlite) planOf(there map[string]string) (*plan, error) {
	created := sqliteTypes()
	made := s.layout.plan(func(c column) room {
		declared, ok := there[strings.ToLower(c.name)]
		if !ok {
			declared = created[c.created()]
		}
		return sqliteRoom(declared)
	})
	for _, name := range s.layout.keys {
		declared, ok := there[strings.ToLower(name)]
		if !ok {
			declared = textAffinity
		}
		key, err := sqliteKeyer(name, declared)
		if err != nil {
			return nil, err
		}
		made.keys = append(made.keys, key)
	}
	return made, nil
}

func (s *sqlite) guess() *plan {
	made, _ := s.planOf(nil) // which does not fail without a catalog
	return made
}

func (s *sqlite) forget() { s.kept.Store(nil) }
