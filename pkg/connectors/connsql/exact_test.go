package connsql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A valueCase is a column of one's own with values that it holds and does not hold.
type valueCase struct {
	column string
	typ    string   // of the configuration, "" for the column's own
	holds  []string // JSON
	loses  []string // JSON that the database would change
	wants  string   // in the error
}

func valueCases() map[string]map[string]valueCase {
	return map[string]map[string]valueCase{
		"postgres": {
			"numeric":           {"numeric(10,2)", "", []string{`1.5`, `"12.34"`, `1.230e1`, `-0.00`, `1e3`}, []string{`1.005`, `"0.001"`, `1e-3`}, "rounded to the column's scale of 2"},
			"numeric as told":   {"numeric(10,2)", "numeric", []string{`1.5`}, []string{`1.005`}, "rounded"},
			"numeric as text":   {"numeric(10,2)", "text", []string{`1.5`}, []string{`1.005`}, "rounded"},
			"negative scale":    {"numeric(4,-2)", "", []string{`1200`}, []string{`1250`}, "rounded"},
			"any numeric":       {"numeric", "", []string{`0.1234567890123456789012345`, `12345678901234567890123456789`}, nil, ""},
			"domain":            {"price", "", []string{`1.5`}, []string{`1.005`}, "rounded"},
			"array":             {"numeric(10,2)[]", "", []string{`[1.5, null]`, `[]`}, []string{`[1.5, 1.005]`}, "rounded"},
			"array as told":     {"numeric(10,2)[]", "numeric[]", []string{`[1.5]`}, []string{`[1.005]`}, "rounded"},
			"money":             {"money", "", []string{`12.34`, `-1`}, []string{`12.345`}, "rounded"},
			"double":            {"float8", "", []string{`0.1`, `0.10000000000000001`, `1e300`, `9007199254740992`}, []string{`9007199254740993`, `0.1234567890123456789`}, "binary number of 53 bits"},
			"double of decimal": {"float8", "numeric", []string{`0.1`}, []string{`9007199254740993`}, "binary number"},
			"double as told":    {"float8", "double", []string{`0.1`}, []string{`9007199254740993`}, "binary number"},
			"double of integer": {"float8", "integer", []string{`9007199254740992`}, []string{`9007199254740993`}, "binary number"},
			"real":              {"real", "", []string{`0.1`, `16777216`, `0.10000000149011612`}, []string{`16777217`, `0.123456789`}, "binary number of 24 bits"},
			"integer":           {"int", "", []string{`7`, `7.0`, `"7"`, `2147483647`}, []string{`1.5`, `"007"`, `2147483648`, `true`}, ""},
			"integer of number": {"int", "numeric", []string{`7`}, []string{`1.5`}, "fraction"},
			"varchar":           {"varchar(3)", "", []string{`"abc"`, `"ab "`, `"äöü"`}, []string{`"abc "`, `"abcd"`}, "longer than the column's 3 characters"},
			"char":              {"char(3)", "", []string{`"abc"`, `"ab"`}, []string{`"ab "`}, "spaces"},
			"name":              {"name", "", []string{`"a"`}, []string{`"` + strings.Repeat("a", 64) + `"`}, "longer than the column's 63 bytes"},
			"timestamptz":       {"timestamptz", "", []string{`"2026-03-01T01:02:03.123456+01:00"`}, []string{`"2026-03-01T01:02:03.1234567Z"`}, "digits of a second"},
			"timestamptz(0)":    {"timestamptz(0)", "timestamp", []string{`"2026-03-01T01:02:03+01:00"`}, []string{`"2026-03-01T01:02:03.5Z"`}, "more than 0 digits of a second"},
			"timestamp":         {"timestamp", "", []string{`"2026-03-01T01:02:03"`, `"2026-03-01 01:02:03.5"`, `"2026-03-01T01:02:03Z"`}, []string{`"2026-03-01T01:02:03+01:00"`, `"2026-03-01T01:02:03.0000001"`}, ""},
			"timestamp as told": {"timestamp(3)", "timestamp", []string{`"2026-03-01T01:02:03.123+01:00"`}, []string{`"2026-03-01T01:02:03.1234Z"`}, "digits of a second"},
			"date":              {"date", "", []string{`"2026-03-01"`}, []string{`"2026-03-01T23:00:00Z"`}, "date"},
			"date of time":      {"date", "timestamp", []string{`"2026-03-01T00:00:00Z"`}, []string{`"2026-03-01T23:00:00Z"`}, "time of day"},
			"time":              {"time", "", []string{`"01:02"`, `"01:02:03.5"`}, []string{`"01:02:03+02"`, `"01:02:03.1234567"`}, ""},
			"timetz":            {"timetz", "", []string{`"01:02:03+02"`, `"01:02:03Z"`}, []string{`"01:02:03.1234567Z"`}, "digits of a second"},
			"interval":          {"interval", "", []string{`"1 day 02:03:04.5"`, `"P1DT2H"`}, []string{`"1.0000001 seconds"`}, "digits of a second"},
			"interval(0)":       {"interval(0)", "", []string{`"1 day"`}, []string{`"1.5 seconds"`}, "digits of a second"},
			"uuid":              {"uuid", "", []string{`"6BA7B810-9DAD-11D1-80B4-00C04FD430C8"`}, []string{`"x"`}, "UUID"},
			"boolean":           {"boolean", "", []string{`true`}, []string{`"maybe"`}, "boolean"},
			"enum":              {"mood", "", []string{`"low"`}, []string{`"LOW"`, `"none"`}, ""},
			"enums":             {"mood[]", "", []string{`["low", "high"]`}, []string{`["none"]`}, ""},
			"citext":            {"citext", "", []string{`"Ab"`}, nil, ""},
			"inet":              {"inet", "", []string{`"10.0.0.1/24"`}, []string{`"x"`}, ""},
			"json":              {"json", "", []string{`{"n": 9007199254740993, "f": 0.1234567890123456789}`}, nil, ""},
			"jsonb":             {"jsonb", "", []string{`{"n": 9007199254740993, "f": 0.1234567890123456789}`, `"text"`, `7`}, nil, ""},
			"bytea":             {"bytea", "", []string{`"AP8n"`}, []string{`"no base64!"`}, "base64"},
			"bit":               {"bit(3)", "", []string{`"101"`}, []string{`"1010"`}, ""},
			"xml":               {"xml", "", []string{`"<a/>"`}, nil, ""},
			"range":             {"int4range", "", []string{`"[1,3)"`}, nil, ""},
		},
		"mysql": {
			"decimal":          {"decimal(10,2)", "", []string{`1.5`, `"12.34"`}, []string{`1.005`}, "rounded to the column's scale of 2"},
			"decimal as told":  {"decimal(65,20)", "numeric", []string{`0.12345678901234567890`}, []string{`0.1234567890123456789012345`}, "rounded to the column's scale of 20"},
			"double":           {"double", "", []string{`0.1`, `9007199254740992`}, []string{`9007199254740993`, `0.1234567890123456789`}, "binary number"},
			"double(M,D)":      {"double(10,2)", "", []string{`1.5`}, []string{`1.005`}, "rounded"},
			"float":            {"float", "", []string{`0.1`}, []string{`16777217`}, "binary number of 24 bits"},
			"integer":          {"int", "", []string{`7`, `7.0`}, []string{`1.5`, `"007"`, `2147483648`}, ""},
			"integer of text":  {"int", "text", []string{`7`}, []string{`1.5`, `"x"`}, ""},
			"unsigned":         {"bigint unsigned", "", []string{`18446744073709551615`}, []string{`-1`, `18446744073709551616`}, ""},
			"tinyint(1)":       {"tinyint(1)", "", []string{`true`, `0`}, []string{`"yes"`, `300`}, ""},
			"bit":              {"bit(3)", "", []string{`5`, `true`}, []string{`8`, `"x"`}, ""},
			"year":             {"year", "", []string{`2026`, `"1999"`}, []string{`99`, `1850`}, "year"},
			"varchar":          {"varchar(3)", "", []string{`"abc"`, `"ab "`, `"äöü"`}, []string{`"abc "`, `"abcd"`}, "longer than the column's 3 characters"},
			"char":             {"char(3)", "", []string{`"ab"`}, []string{`"ab "`}, "spaces"},
			"tinytext":         {"tinytext", "", []string{`"ab"`}, []string{`"` + strings.Repeat("a", 255) + ` "`}, "255 bytes"},
			"binary":           {"binary(3)", "", []string{`"AP8n"`}, []string{`"AP8="`, `"AP8nAA=="`}, ""},
			"datetime":         {"datetime", "timestamp", []string{`"2026-03-01T01:02:03+01:00"`}, []string{`"2026-03-01T01:02:03.5Z"`}, "more than 0 digits of a second"},
			"datetime(3)":      {"datetime(3)", "", []string{`"2026-03-01T01:02:03.123"`, `"2026-03-01T01:02:03Z"`}, []string{`"2026-03-01T01:02:03.1234"`, `"2026-03-01T01:02:03+01:00"`}, ""},
			"timestamp":        {"timestamp(6) NULL", "", []string{`"2026-03-01T01:02:03.123456+01:00"`}, []string{`"2026-03-01T01:02:03.1234567Z"`, `"1960-01-01T00:00:00Z"`}, ""},
			"date":             {"date", "", []string{`"2026-03-01"`}, []string{`"2026-03-01T23:00:00Z"`}, "date"},
			"time":             {"time", "", []string{`"01:02:03"`}, []string{`"01:02:03.5"`}, "digits of a second"},
			"enum":             {"enum('low','high','it''s','7')", "", []string{`"low"`, `"it's"`, `"7"`}, []string{`"LOW"`, `"1"`, `1`, `""`}, "none of the column's values"},
			"set":              {"set('a','b')", "", []string{`"b,a"`, `["a"]`, `""`}, []string{`"1"`, `"a,a"`, `"A"`}, "column's values"},
			"uuid":             {"uuid", "", []string{`"6BA7B810-9DAD-11D1-80B4-00C04FD430C8"`}, []string{`"x"`}, "UUID"},
			"inet6":            {"inet6", "", []string{`"::1"`}, []string{`"x"`}, ""},
			"json":             {"json", "", []string{`{"n": 9007199254740993}`, `[1, "a"]`, `"text"`, `7`, `true`}, nil, ""},
			"longtext":         {"longtext", "", []string{`"text"`}, []string{`{"n": 1}`}, "neither a text"},
			"json as told":     {"json", "json", []string{`{"n": 9007199254740993}`}, nil, ""},
			"latin1":           {"varchar(9) character set latin1", "", []string{`"ä"`}, []string{`"ł"`}, ""},
			"numeric, created": {"decimal(65,20)", "", []string{`1e-20`}, []string{`1e-21`}, "rounded"},
		},
		"sqlite": {
			"integer":         {"INTEGER", "", []string{`7`, `"7"`, `true`, `9223372036854775807`}, []string{`"007"`, `9223372036854775808`, `1.5`}, ""},
			"integer of text": {"INTEGER", "text", []string{`"7"`, `"abc"`}, []string{`"007"`, `"7.0"`, `" 7"`, `"1e3"`}, "turn into a number"},
			"string":          {"STRING", "", []string{`"abc"`, `"7"`}, []string{`"007"`, `"1.10"`}, "turn into a number"},
			"any":             {"ANY", "", []string{`"abc"`, `"7"`}, []string{`"007"`, `"1.10"`, `9223372036854775808`}, "turn into a number"},
			"any of integer":  {"ANY", "integer", []string{`7`}, []string{`9223372036854775808`}, "64 bits"},
			"numeric":         {"DECIMAL(10,2)", "", []string{`1.5`, `7`, `"1.10"`}, []string{`9223372036854775808`, `0.1234567890123456789`}, ""},
			"numeric of text": {"NUMERIC", "text", []string{`"abc"`}, []string{`"1.10"`, `"007"`}, "turn into a number"},
			"real":            {"REAL", "", []string{`0.1`, `7`}, []string{`9007199254740993`, `0.1234567890123456789`}, "double"},
			"real of numeric": {"REAL", "numeric", []string{`0.1`}, []string{`0.1234567890123456789`}, "double"},
			"real of text":    {"REAL", "text", []string{`"abc"`}, []string{`"1.5"`, `"7"`}, "turn into a number"},
			"text":            {"TEXT", "", []string{`"007"`, `0.1234567890123456789`}, nil, ""},
			"text of double":  {"TEXT", "double", []string{`0.30000000000000004`}, nil, ""},
			"untyped":         {"", "", []string{`"007"`, `"x"`}, nil, ""},
			"blob":            {"BLOB", "", []string{`"AP8n"`}, []string{`"no base64!"`}, "base64"},
			"boolean":         {"BOOLEAN", "", []string{`true`}, []string{`"x"`}, "boolean"},
			"date":            {"DATE", "", []string{`"2026-03-01"`}, []string{`"2026"`}[:0], ""},
			"json":            {"JSON", "", []string{`{"n": 9007199254740993}`, `7`}, []string{`1e400`}, ""},
		},
	}
}

// What is delivered is stored as it was given: a value that the column would round, cut,
// fill up or turn into another one is refused, and nothing of its row is written.
func TestValuesThatAColumnWouldChangeAreRefused(t *testing.T) {
	for dialect, cases := range valueCases() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			d := sqlTargets()[dialect](t)
			key := `"key" text PRIMARY KEY`
			switch dialect {
			case "postgres":
				d.exec(t, "CREATE EXTENSION citext", "CREATE DOMAIN cents AS numeric(10,2)", "CREATE DOMAIN price AS cents", "CREATE TYPE mood AS ENUM ('low', 'high')")
			case "mysql":
				key = "`key` varchar(100) COLLATE utf8mb4_bin PRIMARY KEY"
			}
			for name, c := range cases {
				t.Run(name, func(t *testing.T) {
					d.make(t, "v", key+", a "+c.column)
					typ := ""
					if c.typ != "" {
						typ = ", type: '" + c.typ + "'"
					}
					conn := d.openHere(t, "mode: table\ntable: v\ncolumns: [{name: a"+typ+"}]\n")
					for i, value := range c.holds {
						res := apply(t, conn, attempt(fmt.Sprint("holds", i), 1, `{"a":`+value+`}`))[0]
						if res.Class != connectors.OK {
							t.Errorf("%s is %s: %v %s", value, res.Class, res.Err, res.Response)
						}
					}
					d.compareAll(t, conn, c.holds)
					for i, value := range c.loses {
						res := apply(t, conn, attempt(fmt.Sprint("loses", i), 1, `{"a":`+value+`}`))[0]
						if want(t, res, connectors.Permanent, ""); res.Err == nil || !strings.Contains(res.Err.Error(), c.wants) {
							t.Errorf("%s is not refused with %q: %v", value, c.wants, res.Err)
						}
					}
					if n := d.count(t, "SELECT count(*) FROM v"); n != len(c.holds) {
						t.Errorf("there are %d rows, want %d", n, len(c.holds))
					}
				})
			}
		})
	}
}

// compareAll holds what the rows are against what was delivered, and against another value.
func (d *target) compareAll(t *testing.T, conn connectors.Connector, values []string) {
	t.Helper()
	var same, other []connectors.Attempt
	for i, value := range values {
		same = append(same, attempt(fmt.Sprint("holds", i), 1, `{"a":`+value+`}`))
		null := attempt(fmt.Sprint("holds", i), 1, `{"a":null}`)
		null.Digest = same[i].Digest
		other = append(other, null)
	}
	for i, c := range compare(t, conn, same...) {
		if len(c.Changed) > 0 || c.Version.String() != "1" {
			t.Errorf("%s is found changed: %+v", values[i], c)
		}
	}
	for i, c := range compare(t, conn, other...) {
		if fmt.Sprint(c.Changed) != "[a]" {
			t.Errorf("NULL in place of %s is not found: %+v", values[i], c)
		}
	}
}

func compare(t *testing.T, conn connectors.Connector, attempts ...connectors.Attempt) []connectors.Comparison {
	t.Helper()
	out, err := conn.(connectors.Comparer).Compare(t.Context(), attempts)
	if err != nil || len(out) != len(attempts) {
		t.Fatalf("Compare gave %v, %v", out, err)
	}
	return out
}

// A column that somebody has changed behind the version is found, and written again.
func TestChangedColumnsAreFound(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		for name, config := range map[string]string{
			"document": "auto_create: true\n",
			"table":    "auto_create: true\nmode: table\ntable: c\ncolumns: [{name: content}, {name: n, type: numeric}]\n",
			"deleted":  "auto_create: true\nmode: table\non_delete: delete\ntable: e\ncolumns: [{name: content}, {name: n, type: numeric}]\n",
		} {
			conn := d.openHere(t, config)
			there := map[string]string{"document": table, "table": "c", "deleted": "e"}[name]
			a, b, gone := attempt("a", 1, `{"content":"x","n":1.50}`), attempt("b", 1, `{"content":"x"}`), attempt("gone", 1, "")
			for _, c := range compare(t, conn, a, b, gone) {
				if !c.IsZero() {
					t.Errorf("%s: before anything is written: %+v", name, c)
				}
			}
			for _, res := range apply(t, conn, a, b, gone) {
				want(t, res, connectors.OK, "")
			}
			for _, c := range compare(t, conn, a, b, gone) {
				if c.Version.String() != "1" || len(c.Changed) > 0 {
					t.Errorf("%s: %+v", name, c)
				}
			}
			changed := map[string]string{"document": `'{"content":"y"}'`}[name]
			if changed == "" {
				changed = "'X'" // which a collation may take for x
			}
			d.exec(t, "UPDATE "+there+" SET content = "+changed+" WHERE "+d.quote("key")+" = 'a'")
			if got := compare(t, conn, b, a); len(got[0].Changed) > 0 || fmt.Sprint(got[1].Changed) != "[content]" {
				t.Errorf("%s: %+v", name, got)
			}
			a.Again = true
			want(t, apply(t, conn, a)[0], connectors.OK, "")
			if got := compare(t, conn, a); len(got[0].Changed) > 0 {
				t.Errorf("%s: after it was written again: %+v", name, got)
			}
			d.exec(t, "DELETE FROM "+there+" WHERE "+d.quote("key")+" = 'a'")
			if got := compare(t, conn, a); !got[0].IsZero() {
				t.Errorf("%s: after the row was deleted: %+v", name, got)
			}
		}
	})
}

// Where that is wanted the database rounds.
func TestLossyIsAllowed(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		column := map[string]string{"postgres": "numeric(10,2)", "mysql": "decimal(10,2)", "sqlite": "REAL"}[d.dialect]
		key := map[string]string{"postgres": `"key" text`, "mysql": "`key` varchar(100)", "sqlite": `"key" TEXT`}[d.dialect]
		d.make(t, "v", key+" PRIMARY KEY, a "+column)
		conn := d.openHere(t, "mode: table\ntable: v\nlossy: allow\ncolumns: [{name: a, type: numeric}]\n")
		want(t, apply(t, conn, attempt("k", 1, `{"a":1.0000000000000000001}`))[0], connectors.OK, "")
		if n := d.count(t, "SELECT count(*) FROM v WHERE a = 1"); n != 1 {
			t.Error("the value was not rounded")
		}
	})
}

// A table that is changed while a connector is open is looked at again.
func TestColumnsThatAreChangedLater(t *testing.T) {
	d := postgresTarget(t)
	d.make(t, "v", `"key" text PRIMARY KEY, a text`)
	conn := d.openHere(t, "mode: table\ntable: v\ncolumns: [{name: a}]\n")
	want(t, apply(t, conn, attempt("k", 1, `{"a":"1"}`))[0], connectors.OK, "")
	d.exec(t, "ALTER TABLE v ALTER a TYPE int USING a::int")
	for _, res := range apply(t, conn, attempt("k", 2, `{"a":"2"}`), attempt("l", 2, `{"a":"3"}`)) {
		want(t, res, connectors.OK, "")
	}
	if n := d.count(t, "SELECT count(*) FROM v WHERE a IN (2, 3)"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// What the column "content" cannot hold is refused too.
func TestDocumentsThatTheColumnWouldCut(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		if d.dialect == "sqlite" {
			t.Log("does not apply: SQLite cuts nothing")
			return
		}
		key := map[string]string{"postgres": `"key" text`, "mysql": "`key` varchar(100)"}[d.dialect]
		d.make(t, "v", key+" PRIMARY KEY, content varchar(5)")
		conn := d.openHere(t, "table: v\ncontent: text\n")
		results := apply(t, conn, attempt("a", 1, "12345"), attempt("b", 1, "12345 "))
		want(t, results[0], connectors.OK, "")
		want(t, results[1], connectors.Permanent, "payload")
	})
}
