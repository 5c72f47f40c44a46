package connsql_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// everyType has a column of each type that all dialects have.
const everyType = `
mode: table
table: policies
auto_create: true
columns:
  - {name: holder, type: text, jq: .policy.holder.name}
  - {name: number, type: integer}
  - {name: premium, type: numeric}
  - {name: ratio, type: double}
  - {name: active, type: boolean}
  - {name: since, type: timestamp}
  - {name: birthday, type: date}
  - {name: ref, type: uuid}
  - {name: extra, type: json}
  - {name: scan, type: bytes}
`

const everyValue = `{
	"policy": {"holder": {"name": "Zoë O'Neil \\ \"x\""}},
	"number": 9007199254740993, "premium": 12345678901234567.25, "ratio": 0.1, "active": true,
	"since": "2026-03-01T01:02:03.123456+01:00", "birthday": "1990-12-31",
	"ref": "6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "extra": {"n": 9007199254740993}, "scan": "AP8n"
}`

func TestTableKeepsEachTypeExactly(t *testing.T) {
	conditions := []string{
		`number = 9007199254740993`, `ratio = 0.1`, `birthday = '1990-12-31'`,
		`ref = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'`,
	}
	own := map[string][]string{
		"postgres": {
			`holder = 'Zoë O''Neil \ "x"'`, `premium = 12345678901234567.25`, `active`, `since = '2026-03-01T00:02:03.123456Z'`,
			`extra = '{"n": 9007199254740993}'`, `scan = '\x00ff27'`,
		},
		"mysql": {
			`holder = 'Zoë O''Neil \\ "x"'`, `premium = 12345678901234567.25`, `active`, `since = '2026-03-01 00:02:03.123456'`,
			`extra = '{"n":9007199254740993}'`, `scan = x'00ff27'`,
		},
		"sqlite": {
			`holder = 'Zoë O''Neil \ "x"'`, `premium = '12345678901234567.25'`, `active = 1`, `since = '2026-03-01T00:02:03.123456000Z'`,
			`extra = '{"n":9007199254740993}'`, `scan = x'00ff27'`,
		},
	}
	everywhere(t, func(t *testing.T, d *target) {
		c := d.openHere(t, everyType)
		for _, res := range apply(t, c, attempt("k", 1, everyValue), attempt("null", 1, `{"premium": null}`)) {
			want(t, res, connectors.OK, "")
		}
		for _, condition := range slices.Concat(own[d.dialect], conditions) {
			if n := d.count(t, "SELECT count(*) FROM policies WHERE op = 'upsert' AND version = 1 AND "+condition); n != 1 {
				t.Errorf("%d rows have %s", n, condition)
			}
		}
		for _, column := range []string{"holder", "number", "premium", "ratio", "active", "since", "birthday", "ref", "extra", "scan"} {
			if n := d.count(t, "SELECT count(*) FROM policies WHERE "+d.quote("key")+" = 'null' AND "+column+" IS NULL"); n != 1 {
				t.Errorf("%s is not NULL where the payload has nothing", column)
			}
		}
	})
}

func TestTableOfArrays(t *testing.T) {
	d := postgresTarget(t)
	c := d.openHere(t, "mode: table\ntable: a\nauto_create: true\ncolumns: [{name: tags, type: 'text[]'}, {name: ids, type: 'integer[]'}, {name: sums, type: 'numeric[]'}]\n")
	want(t, apply(t, c, attempt("k", 1, `{"tags": ["a,b", "\"q\"", "\\", "NULL", "", null], "ids": [9007199254740993], "sums": []}`))[0], connectors.OK, "")
	if n := d.count(t, `SELECT count(*) FROM a WHERE tags = ARRAY['a,b', '"q"', '\', 'NULL', '', NULL] AND ids = ARRAY[9007199254740993] AND sums = '{}'`); n != 1 {
		t.Error("the arrays are not what the payload said")
	}
	for name, payload := range map[string]string{"not an array": `{"tags": "x"}`, "wrong element": `{"ids": [1, "x"]}`} {
		res := apply(t, c, attempt(name, 1, payload))[0]
		want(t, res, connectors.Permanent, "payload")
	}
}

func TestTableMappingErrors(t *testing.T) {
	d := sqliteTarget(t)
	c := d.openHere(t, strings.ReplaceAll(everyType, "table: policies", "table: policies\nmax_batch: 50")+
		"  - {name: strict, jq: 'if has(\"must\") then .must else error(.) end'}\n  - {name: one, jq: '.list // null'}\n")
	for name, c2 := range map[string]struct{ payload, column string }{
		"integer":        {`{"must":1,"number":"canary"}`, "number"},
		"fraction":       {`{"must":1,"number":1.5}`, "number"},
		"too large":      {`{"must":1,"number":9223372036854775808}`, "number"},
		"numeric":        {`{"must":1,"premium":"canary"}`, "premium"},
		"double":         {`{"must":1,"ratio":1e999}`, "ratio"},
		"boolean":        {`{"must":1,"active":"canary"}`, "active"},
		"timestamp":      {`{"must":1,"since":"2026-03-01 canary"}`, "since"},
		"date":           {`{"must":1,"birthday":"2026-02-30"}`, "birthday"},
		"uuid":           {`{"must":1,"ref":"canary"}`, "ref"},
		"bytes":          {`{"must":1,"scan":"canary!"}`, "scan"},
		"text":           {`{"must":1,"policy":{"holder":{"name":["canary"]}}}`, "holder"},
		"jq fails":       {`{"must":1,"policy":"canary"}`, "holder"},
		"jq says error":  {`{"secret":"canary"}`, "strict"},
		"not JSON":       {`{"canary"`, "JSON"},
		"two documents":  {`{"must":1} {"canary":2}`, "more than one"},
		"not an object":  {`"canary"`, "holder"},
		"nothing at all": {` `, "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			results := apply(t, c, attempt("a"+name, 1, `{"must":1}`), attempt("bad", 1, c2.payload), attempt("z"+name, 1, `{"must":1}`))
			want(t, results[0], connectors.OK, "")
			want(t, results[1], connectors.Permanent, "payload")
			want(t, results[2], connectors.OK, "")
			if text := results[1].Err.Error(); !strings.Contains(text, c2.column) || strings.Contains(text, "canary") {
				t.Errorf("error %q must name %s and show no value", text, c2.column)
			}
		})
	}
}

func TestTableExpressionsAreBounded(t *testing.T) {
	d := sqliteTarget(t)
	for name, jq := range map[string]string{"endless": "last(repeat(1))", "endless values": "repeat(1)", "no value": "empty"} {
		c := d.openHere(t, "mode: table\nauto_create: true\ncolumns: [{name: a, jq: '"+jq+"'}]\n")
		res := apply(t, c, attempt("k", 1, `{}`))[0]
		if res.Class != connectors.Permanent {
			t.Errorf("%s: class %s (%v)", name, res.Class, res.Err)
		}
	}
}

func TestTableTombstones(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		for onDelete, wantNull := range map[string]int{"clear": 1, "keep": 0} {
			name := "t_" + onDelete
			c := d.openHere(t, fmt.Sprintf("mode: table\ntable: %s\nauto_create: true\non_delete: %s\ncolumns: [{name: a}, {name: b, type: integer}]\n", name, onDelete))
			want(t, apply(t, c, attempt("k", 1, `{"a":"x","b":1}`))[0], connectors.OK, "")
			for _, res := range apply(t, c, attempt("k", 3, ""), attempt("unknown", 3, "")) {
				want(t, res, connectors.OK, "")
			}
			want(t, apply(t, c, attempt("k", 2, `{"a":"late"}`))[0], connectors.Stale, "stale")
			query := "SELECT count(*) FROM " + name + " WHERE " + d.quote("key") + " = 'k' AND op = 'delete' AND version = 3 AND a IS NULL AND b IS NULL"
			if n := d.count(t, query); n != wantNull {
				t.Errorf("%s: %d rows are cleared, want %d", onDelete, n, wantNull)
			}
			want(t, apply(t, c, attempt("k", 4, `{"a":"back"}`))[0], connectors.OK, "")
			if n := d.count(t, "SELECT count(*) FROM "+name+" WHERE op = 'upsert' AND a = 'back' AND b IS NULL"); n != 1 {
				t.Errorf("%s: the row did not come back as the last update says", onDelete)
			}
		}
	})
}

// A table of one's own has constraints of its own. Whatever they refuse must
// neither hit another row nor hold up the batch.
func TestTableWithAnotherUniqueIndex(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		const config = "mode: table\ntable: p\nauto_create: true\ncolumns: [{name: number, type: integer}]\n"
		c := d.openHere(t, config)
		want(t, apply(t, c, attempt("a", 1, `{"number":1}`))[0], connectors.OK, "")
		d.exec(t, "CREATE UNIQUE INDEX one ON p (number)")
		results := apply(t, c, attempt("b", 7, `{"number":1}`), attempt("c", 1, `{"number":3}`))
		want(t, results[0], connectors.Unready, "")
		want(t, results[1], connectors.OK, "")
		results = apply(t, c, attempt("c", 2, `{"number":1}`), attempt("d", 1, `{"number":4}`))
		want(t, results[0], connectors.Unready, "")
		want(t, results[1], connectors.OK, "")
		for key, version := range map[string]string{"a": "1", "c": "1", "d": "1"} {
			if got := d.held(t, "p", key)[key].Version.String(); got != version {
				t.Errorf("%s has version %s, want %s", key, got, version)
			}
		}
	})
}

// Without a unique index MySQL would add a row for each update.
func TestTableWithoutUniqueIndexOfTheKey(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		key := map[string]string{"postgres": "text", "mysql": "varchar(200)", "sqlite": "text"}[d.dialect]
		d.exec(t, fmt.Sprintf("CREATE TABLE p (%s %s NOT NULL, version bigint, version_nanos int, digest char(64), op varchar(10), updated_at varchar(40), a varchar(10))", d.quote("key"), key))
		d.exec(t, "CREATE INDEX plain ON p ("+d.quote("key")+")")
		if d.dialect == "mysql" {
			d.exec(t, "CREATE UNIQUE INDEX part ON p (`key`(10))", "CREATE UNIQUE INDEX pair ON p (`key`, version)")
		}
		if d.dialect == "postgres" {
			d.exec(t, "ALTER TABLE p ALTER updated_at TYPE timestamptz USING NULL", "GRANT ALL ON p TO "+d.user)
		}
		c := d.openHere(t, "mode: table\ntable: p\ncolumns: [{name: a}]\n")
		want(t, apply(t, c, attempt("k", 1, `{}`))[0], connectors.Misconfigured, "")
		if err := c.(connectors.Prober).Probe(t.Context()); err == nil || connectors.ClassOf(err) != connectors.Misconfigured {
			t.Errorf("Probe gave %v", err)
		}
		d.exec(t, "CREATE UNIQUE INDEX whole ON p ("+d.quote("key")+")")
		want(t, apply(t, c, attempt("k", 1, `{}`))[0], connectors.OK, "")
		want(t, apply(t, c, attempt("k", 2, `{"a":"x"}`))[0], connectors.OK, "")
		if n := d.count(t, "SELECT count(*) FROM p"); n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
	})
}

// The columns of one row that take too much are its own fault. Those that are not
// asked for because of it spend no attempt.
func TestCostlyColumnsAreTheirRowsFault(t *testing.T) {
	d := sqliteTarget(t)
	c := d.openHere(t, "mode: table\nauto_create: true\ncolumns: [{name: a, type: integer, jq: '[.t // \"\" | scan(\"a.*b|a\")] | length'}]\n")
	want(t, apply(t, c, attempt("first", 1, `{}`))[0], connectors.OK, "") // which makes the table
	costly := attempt("costly", 1, `{"t":"`+strings.Repeat("a", 60_000)+`"}`)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	got := c.Apply(ctx, []connectors.Attempt{attempt("before", 1, `{}`), costly, attempt("after", 1, `{}`)})
	want(t, got[0], connectors.OK, "")
	want(t, got[2], connectors.OK, "")
	if want(t, got[1], connectors.Transient, "mapping_failed"); !got[1].Unasked {
		t.Errorf("the costly row: %+v", got[1])
	}
}
