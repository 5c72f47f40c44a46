package connsql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A mysqlColumn is what information_schema says of a column.
type mysqlColumn struct {
	data, full                string // "decimal", "decimal(10,2) unsigned"
	chars, octets             *int64
	json                      bool // MariaDB's JSON is a text with a check
	precision, scale, seconds *int64
}

func (m *mysql) columns(ctx context.Context) (_ map[string]mysqlColumn, err error) {
	schema, name, ok := strings.Cut(m.layout.table, ".")
	if !ok {
		schema, name = "", schema
	}
	found, err := m.db.QueryContext(ctx, `SELECT column_name, LOWER(data_type), column_type, character_maximum_length, character_octet_length,
		numeric_precision, numeric_scale, datetime_precision,
		0 /*M!100310 OR CONCAT('json_valid(`+"`"+`', LOWER(column_name), '`+"`"+`)') IN (SELECT LOWER(check_clause) FROM information_schema.check_constraints
			WHERE constraint_schema = COALESCE(NULLIF(?, ''), DATABASE()) AND table_name = ?) */
		FROM information_schema.columns
		WHERE table_schema = COALESCE(NULLIF(?, ''), DATABASE()) AND table_name = ?`, schema, name, schema, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	there := make(map[string]mysqlColumn)
	for found.Next() {
		var name string
		var c mysqlColumn
		if err := found.Scan(&name, &c.data, &c.full, &c.chars, &c.octets, &c.precision, &c.scale, &c.seconds, &c.json); err != nil {
			return nil, err
		}
		there[strings.ToLower(name)] = c // as the server looks them up
	}
	return there, found.Err()
}

func numberOr(n *int64, otherwise int) int {
	if n == nil {
		return otherwise
	}
	return int(min(*n, 1<<31-1))
}

// room: the server changes some values although it is strict: it rounds fractions, fills
// up, cuts spaces off, and takes numbers for the places of an enumeration's values.
func (c mysqlColumn) room() room {
	switch c.data {
	case "tinyint":
		if strings.HasPrefix(c.full, "tinyint(1)") {
			return room{family: flagType}
		}
		return room{family: integerType}
	case "smallint", "mediumint", "int", "bigint":
		return room{family: integerType}
	case "bit":
		return room{family: flagType}
	case "year":
		return room{family: yearType}
	case "decimal":
		return room{family: numericType, scaled: true, scale: numberOr(c.scale, 0)}
	case "float":
		return room{family: doubleType, bits: 24, scaled: c.scale != nil, scale: numberOr(c.scale, 0)}
	case "double":
		return room{family: doubleType, bits: 53, scaled: c.scale != nil, scale: numberOr(c.scale, 0)}
	case "char":
		return room{family: textType, chars: numberOr(c.chars, 0), padded: true}
	case "varchar":
		return room{family: textType, chars: numberOr(c.chars, 0)}
	case "tinytext", "text", "mediumtext", "longtext":
		if c.json {
			return room{family: jsonType}
		}
		return room{family: textType, octets: numberOr(c.octets, 0)}
	case "binary":
		return room{family: bytesType, octets: numberOr(c.octets, 0), width: numberOr(c.octets, 0)}
	case "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return room{family: bytesType, octets: numberOr(c.octets, 0)}
	case "date":
		return room{family: dateType}
	case "datetime":
		return room{family: localType, fraction: numberOr(c.seconds, 0)}
	case "timestamp":
		return room{family: timestampType, fraction: numberOr(c.seconds, 0)}
	case "time":
		return room{family: clockType, fraction: numberOr(c.seconds, 0)}
	case "enum":
		return room{family: textType, members: mysqlMembers(c.full)}
	case "set":
		return room{family: setType, members: mysqlMembers(c.full)}
	case "json":
		return room{family: jsonType, bits: 53} // of MySQL: MariaDB has texts
	case "uuid":
		return room{family: uuidType}
	default:
		return room{}
	}
}

// mysqlMembers reads the values out of a type like enum('a','it”s').
func mysqlMembers(full string) []string {
	members := []string{} // not nil: there may be none
	_, rest, _ := strings.Cut(full, "(")
	for strings.HasPrefix(rest, "'") {
		var b strings.Builder
		rest = rest[1:]
		for {
			text, after, found := strings.Cut(rest, "'")
			b.WriteString(text)
			if rest = after; !found || !strings.HasPrefix(rest, "'") {
				break
			}
			b.WriteByte('\'') // it is doubled
			rest = rest[1:]
		}
		members = append(members, b.String())
		rest = strings.TrimPrefix(rest, ",")
	}
	return members
}

// keyer: a key's column must hold each key as it is written, or two would be one row.
func (c mysqlColumn) keyer(name string) (keyer, error) {
	switch r := c.room(); r.family {
	case integerType, flagType:
		if c.data == "bit" {
			break
		}
		return integerKey, nil
	case textType, bytesType:
		if r.members != nil {
			break
		}
		return r.textKey, nil
	case uuidType:
		return uuidKey, nil
	}
	return nil, fmt.Errorf("%w: %s is of the type %s; one of text, bytes, integers or UUIDs can", errKeyColumn, name, c.full)
}

// textKey takes a text that the column neither cuts nor fills up.
func (r room) textKey(part string) (any, error) {
	switch {
	case r.padded && strings.HasSuffix(part, " "):
		return nil, errors.New("it ends with spaces, which its column does not keep")
	case r.chars > 0 && utf8.RuneCountInString(part) > r.chars:
		return nil, fmt.Errorf("it is longer than the %d characters of its column", r.chars)
	case r.octets > 0 && len(part) > r.octets:
		return nil, fmt.Errorf("it is longer than the %d bytes of its column", r.octets)
	case len(part) < r.width:
		return nil, fmt.Errorf("its column would fill it up to %d bytes", r.width)
	default:
		return part, nil
	}
}

// uuidKey takes a UUID that is written as the database writes it.
func uuidKey(part string) (any, error) {
	if !uuidPattern.MatchString(part) {
		return nil, errors.New("its column holds UUIDs in small letters only")
	}
	return part, nil
}

// plan returns the plan that is kept, or makes one.
func (m *mysql) plan(ctx context.Context) (*plan, error) {
	if kept := m.kept.Load(); kept.fresh() {
		return kept, nil
	}
	there, err := m.columns(ctx)
	if err != nil {
		return nil, err
	}
	made, err := m.planOf(there)
	if err == nil && len(there) > 0 { // else the table is not there yet
		m.kept.Store(made)
	}
	return made, err
}

// mysqlKeyBytes is how long a key may be in a table that the connector creates.
const mysqlKeyBytes = 1024

func (m *mysql) planOf(there map[string]mysqlColumn) (*plan, error) {
	rooms := func(c column) room {
		if known, ok := there[strings.ToLower(c.name)]; ok {
			return known.room()
		}
		return mysqlCreated(c)
	}
	made := m.layout.plan(rooms)
	made.sql.compare = m.layout.mysqlCompare(rooms)
	for _, name := range m.layout.keys {
		key := room{octets: mysqlKeyBytes}.textKey
		if known, ok := there[strings.ToLower(name)]; ok {
			var err error
			if key, err = known.keyer(name); err != nil {
				return nil, err
			}
		}
		made.keys = append(made.keys, key)
	}
	return made, nil
}

// mysqlCreated is the room of a column that the connector creates.
func mysqlCreated(c column) room {
	switch typ := c.created(); typ {
	case numericType:
		return room{family: typ, scaled: true, scale: 20}
	case doubleType:
		return room{family: typ, bits: 53}
	case timestampType:
		return room{family: localType, fraction: 6}
	default:
		return room{family: typ}
	}
}

func (m *mysql) guess() *plan {
	made, _ := m.planOf(nil) // which does not fail without a catalog
	return made
}

func (m *mysql) forget() { m.kept.Store(nil) }
