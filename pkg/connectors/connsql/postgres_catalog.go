package connsql

import (
	"context"
	"fmt"
	"strings"
)

// A postgresColumn is what the catalog says of a column, of the type beneath if that is a
// domain.
type postgresColumn struct {
	cast  string // the type without its length or precision
	exact string // the type as it is
	money bool
	room  room
}

// postgresCatalog asks for columns of a table: none if the table is not there.
const postgresCatalog = `WITH RECURSIVE c(name, typ, mod) AS (
	SELECT a.attname::text, a.atttypid, a.atttypmod FROM pg_catalog.pg_attribute AS a
	WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attname = ANY($2::text[]) AND a.attnum > 0 AND NOT a.attisdropped
	UNION ALL
	SELECT c.name, t.typbasetype, t.typtypmod FROM c JOIN pg_catalog.pg_type AS t ON t.oid = c.typ WHERE t.typtype = 'd')
SELECT c.name, pg_catalog.format_type(c.typ, -1), pg_catalog.format_type(c.typ, c.mod), t.typname::text, COALESCE(e.typname::text, ''), c.mod,
	CASE WHEN t.typname = 'money' OR e.typname = 'money' THEN pg_catalog.scale('0'::money::numeric) ELSE 0 END
FROM c JOIN pg_catalog.pg_type AS t ON t.oid = c.typ
LEFT JOIN pg_catalog.pg_type AS e ON e.oid = t.typelem AND t.typcategory = 'A' AND t.typlen = -1
WHERE t.typtype <> 'd'`

func (p *postgres) columns(ctx context.Context) (map[string]postgresColumn, error) {
	asked := []any{quoteTable(p.layout.table, `"`), p.layout.columns()}
	there := make(map[string]postgresColumn)
	var name, cast, exact, typ, element string
	var mod, scale int
	err := p.each(ctx, postgresCatalog, asked, []any{&name, &cast, &exact, &typ, &element, &mod, &scale}, func() error {
		c := postgresColumn{cast: cast, exact: exact, money: typ == "money"}
		if typ == "bit" || typ == "varbit" {
			c.exact = cast // a cast to bit(3) cuts what an assignment would refuse
		}
		if element != "" {
			inner := postgresRoom(element, mod, scale)
			c.room.array = &inner
		} else {
			c.room = postgresRoom(typ, mod, scale)
		}
		there[name] = c
		return nil
	})
	return there, err
}

// lastDigit is how many digits of a second PostgreSQL keeps.
const lastDigit = 6

// postgresRoom reads the modifier of a type, which is negative where there is none.
// PostgreSQL 15, src/backend/utils/adt.
func postgresRoom(typ string, mod, moneyScale int) room {
	fraction, chars := lastDigit, 0
	if mod >= 0 {
		fraction, chars = mod, mod-4
	}
	switch typ {
	case "int2", "int4", "int8", "oid":
		return room{family: integerType}
	case "numeric":
		if mod < 0 {
			return room{family: numericType}
		}
		return room{family: numericType, scaled: true, scale: ((mod-4)&0x7ff ^ 1024) - 1024}
	case "money":
		return room{family: numericType, scaled: true, scale: moneyScale}
	case "float4":
		return room{family: doubleType, bits: 24}
	case "float8":
		return room{family: doubleType, bits: 53}
	case "bool":
		return room{family: booleanType}
	case "timestamptz":
		return room{family: timestampType, fraction: fraction}
	case "timestamp":
		return room{family: localType, fraction: fraction}
	case "date":
		return room{family: dateType}
	case "time", "timetz":
		return room{family: clockType, fraction: fraction, zoned: strings.HasSuffix(typ, "tz")}
	case "interval":
		return postgresInterval(mod)
	case "uuid":
		return room{family: uuidType}
	case "json", "jsonb":
		return room{family: jsonType}
	case "bytea":
		return room{family: bytesType}
	case "varchar":
		return room{family: textType, chars: chars}
	case "bpchar":
		return room{family: textType, chars: chars, padded: true}
	case "name":
		return room{family: textType, octets: mostIdentifier}
	case "char":
		return room{family: textType, octets: 1}
	case "text", "citext":
		return room{family: textType}
	default:
		return room{}
	}
}

// postgresInterval: the upper half of the modifier says which fields the column keeps,
// the lower half how many digits of a second; all bits of either mean all.
func postgresInterval(mod int) room {
	r := room{family: intervalType, fraction: lastDigit}
	if mod < 0 {
		return r
	}
	r.partial = mod>>16&0x7fff != 0x7fff
	if digits := mod & 0xffff; digits != 0xffff {
		r.fraction = digits
	}
	return r
}

// plan returns the plan that is kept, or makes one.
func (p *postgres) plan(ctx context.Context) (*plan, error) {
	if kept := p.kept.Load(); kept.fresh() {
		return kept, nil
	}
	there, err := p.columns(ctx)
	if err != nil {
		return nil, err
	}
	made := p.planOf(there)
	if len(there) > 0 { // else the table is not there yet
		p.kept.Store(made)
	}
	return made, nil
}

// planOf makes a plan of what the catalog says of the columns.
func (p *postgres) planOf(there map[string]postgresColumn) *plan {
	made := p.layout.plan(func(c column) room {
		if known, ok := there[c.name]; ok {
			return known.room
		}
		return postgresCreated(c)
	})
	l := postgresLayout{p.layout, there}
	made.sql = postgresStatements(l)
	for i := range l.keys {
		made.keyMarks = append(made.keyMarks, l.key(i, fmt.Sprintf("$%d::text", i+2)))
	}
	return made
}

// postgresCreated is the room of a column that the connector creates.
func postgresCreated(c column) room {
	switch typ := c.created(); typ {
	case doubleType:
		return room{family: typ, bits: 53}
	case timestampType:
		return room{family: typ, fraction: lastDigit}
	default:
		if _, isArray := strings.CutSuffix(typ, "[]"); isArray {
			return room{}
		}
		return room{family: typ}
	}
}

func (p *postgres) guess() *plan { return p.planOf(nil) }

func (p *postgres) forget() { p.kept.Store(nil) }
