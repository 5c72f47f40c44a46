package connsql

import (
	"fmt"
	"strings"
)

// postgresTypes are the types of columns in PostgreSQL. The keys are also what
// this dialect knows.
func postgresTypes() map[string]string {
	return map[string]string{
		textType: "text", integerType: "bigint", numericType: "numeric", doubleType: "double precision",
		booleanType: "boolean", timestampType: "timestamptz", dateType: "date", uuidType: "uuid",
		jsonType: "jsonb", bytesType: "bytea",
		textArray: "text[]", integerArray: "bigint[]", numericArray: "numeric[]",
	}
}

// postgresStatements returns the texts for a layout. Values travel as one array
// for each column, so a statement's text does not depend on the number of rows
// and is prepared once.
func postgresStatements(l layout) statements {
	const mark = `"`
	table, key := quoteTable(l.table, mark), identifier(l.names.Key, mark)
	version, nanos := identifier(l.names.Version, mark), identifier(l.names.VersionNanos, mark)
	held := strings.Join(quoteAll(l.guardColumns(), mark, "t."), ", ")
	insert := postgresInsert(l)
	s := statements{create: postgresCreate(l)}
	switch l.mode {
	case appendMode:
		s.write = insert + " ON CONFLICT DO NOTHING"
		s.rewrite = s.write
		s.held = fmt.Sprintf("SELECT %s FROM %s AS t JOIN unnest($1::text[], $2::bigint[], $3::integer[]) AS i(k, v, n) ON (t.%s, t.%s, t.%s) = (i.k, i.v, i.n)",
			held, table, key, version, nanos)
		s.read = fmt.Sprintf("SELECT DISTINCT ON (t.%[3]s) %[1]s FROM %[2]s AS t WHERE t.%[3]s = ANY($1::text[]) ORDER BY t.%[3]s, t.%[4]s DESC, t.%[5]s DESC",
			held, table, key, version, nanos)
	default:
		s.write, s.rewrite = insert+l.onConflict(false), insert+l.onConflict(true)
		s.read = fmt.Sprintf("SELECT %s FROM %s AS t WHERE t.%s = ANY($1::text[])", held, table, key)
		s.held = s.read
	}
	return s
}

func postgresInsert(l layout) string {
	const mark = `"`
	types := []string{"text", "bigint", "integer", "text", "text"}
	known := postgresTypes()
	var args, fields, picks []string
	for i := range len(types) + len(l.values) {
		arg, pick := fmt.Sprintf("$%d::text[]", i+1), fmt.Sprintf("i.c%d", i)
		if i < len(types) {
			arg = fmt.Sprintf("$%d::%s[]", i+1, types[i])
		} else {
			pick += "::" + known[l.values[i-len(types)].typ]
		}
		args, fields, picks = append(args, arg), append(fields, fmt.Sprintf("c%d", i)), append(picks, pick)
	}
	columns, values := l.columns(), append(picks, "clock_timestamp()")
	if l.mode == appendMode {
		columns = append(columns, outOfOrderColumn)
		values = append(values, fmt.Sprintf("EXISTS (SELECT FROM %s AS o WHERE o.%s = i.c0 AND (o.%s, o.%s) > (i.c1, i.c2))",
			quoteTable(l.table, mark), identifier(l.names.Key, mark), identifier(l.names.Version, mark), identifier(l.names.VersionNanos, mark)))
	}
	return fmt.Sprintf("INSERT INTO %s AS t (%s) SELECT %s FROM unnest(%s) AS i(%s)",
		quoteTable(l.table, mark), strings.Join(quoteAll(columns, mark, ""), ", "), strings.Join(values, ", "),
		strings.Join(args, ", "), strings.Join(fields, ", "))
}

func postgresCreate(l layout) string {
	const mark = `"`
	known := postgresTypes()
	types := []string{`text COLLATE "C" NOT NULL`, "bigint NOT NULL", "integer NOT NULL", "text NOT NULL", "text NOT NULL"}
	for _, v := range l.values {
		types = append(types, known[v.typ])
	}
	return l.createTable(mark, append(types, "timestamptz NOT NULL"), "boolean NOT NULL", "")
}
