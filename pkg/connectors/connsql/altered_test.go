package connsql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// An alteredCase is a column that somebody makes narrower, so that it keeps less than was
// delivered.
type alteredCase struct{ before, alter, value string }

func alteredCases() map[string]map[string]alteredCase {
	return map[string]map[string]alteredCase{
		"postgres": {
			"varchar":     {"varchar(20)", "ALTER a TYPE varchar(5) USING left(a, 5)", `"1234567"`},
			"numeric":     {"numeric(10,4)", "ALTER a TYPE numeric(10,1)", `1.2345`},
			"integer":     {"numeric(10,4)", "ALTER a TYPE int", `1.2345`},
			"timestamptz": {"timestamptz", "ALTER a TYPE timestamptz(0)", `"2026-03-01T01:02:03.5Z"`},
			"real":        {"float8", "ALTER a TYPE real", `0.1234567890123`},
			"bit":         {"varbit", "ALTER a TYPE bit(3) USING a::bit(3)", `"1011"`},
			"array":       {"numeric(10,2)[]", "ALTER a TYPE numeric(10,1)[]", `[1.25, 2]`},
		},
		"mysql": {
			"varchar":  {"varchar(20)", "MODIFY a varchar(5)", `"1234567"`},
			"decimal":  {"decimal(10,4)", "MODIFY a decimal(10,1)", `1.2345`},
			"binary":   {"varbinary(5)", "MODIFY a binary(3)", `"AP8nAA=="`},
			"filled":   {"varbinary(5)", "MODIFY a binary(5)", `"AP8n"`},
			"datetime": {"datetime(6)", "MODIFY a datetime", `"2026-03-01T01:02:03.5Z"`},
		},
	}
}

// What a column has lost since it was written is found, although the value that was delivered
// would become the same in it.
func TestAlteredColumnsAreFound(t *testing.T) {
	for dialect, cases := range alteredCases() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			d := sqlTargets()[dialect](t)
			key := map[string]string{"postgres": `"key" text PRIMARY KEY`, "mysql": "`key` varchar(100) PRIMARY KEY"}[dialect]
			if dialect == "mysql" {
				d.exec(t, "SET SESSION sql_mode = ''") // as one who alters the table in spite of the loss
			}
			for name, c := range cases {
				t.Run(name, func(t *testing.T) {
					d.make(t, "v", key+", a "+c.before)
					conn := d.openHere(t, "mode: table\ntable: v\ncolumns: [{name: a}]\n")
					a, null := attempt("k", 1, `{"a":`+c.value+`}`), attempt("null", 1, `{}`)
					for _, res := range apply(t, conn, a, null) {
						want(t, res, connectors.OK, "")
					}
					d.exec(t, "ALTER TABLE v "+c.alter)
					got := compare(t, conn, a, null)
					if fmt.Sprint(got[0].Changed) != "[a]" || got[0].Tag != a.Tag() || len(got[1].Changed) > 0 {
						t.Errorf("after the column was altered: %+v", got)
					}
				})
			}
			t.Run("document", func(t *testing.T) {
				d.make(t, "v", key+", content varchar(20)")
				conn := d.openHere(t, "table: v\ncontent: text\n")
				a := attempt("k", 1, "1234567")
				want(t, apply(t, conn, a)[0], connectors.OK, "")
				d.exec(t, "UPDATE v SET content = '12345'", "ALTER TABLE v "+
					map[string]string{"postgres": "ALTER content TYPE varchar(5)", "mysql": "MODIFY content varchar(5)"}[dialect])
				if got := compare(t, conn, a); fmt.Sprint(got[0].Changed) != "[content]" {
					t.Errorf("after the column was altered: %+v", got)
				}
			})
		})
	}
}

// A version alone does not vouch for a row: its digest must be there, and be the one.
func TestChangedDigestsAreFound(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		d.make(t, "v", map[string]string{"postgres": `"key" text`, "mysql": "`key` varchar(100)", "sqlite": `"key" TEXT`}[d.dialect]+" PRIMARY KEY, a varchar(9)")
		conn := d.openHere(t, "mode: table\ntable: v\ncolumns: [{name: a}]\n")
		a := attempt("k", 1, `{"a":"x"}`)
		want(t, apply(t, conn, a)[0], connectors.OK, "")
		for _, digest := range []string{"NULL", "'none'", "'" + strings.Repeat("0", 63) + "1'"} {
			d.exec(t, "UPDATE v SET digest = "+digest)
			if got := compare(t, conn, a); fmt.Sprint(got[0].Changed) != "[digest]" || got[0].Version != a.Version {
				t.Errorf("digest %s: %+v", digest, got)
			}
		}
	})
}

// Where deletes remove rows, one that somebody has put back is found, whatever it holds.
func TestRowsThatWerePutBackAreFound(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		conn := d.openHere(t, "auto_create: true\nmode: table\non_delete: delete\ntable: e\ncolumns: [{name: a}]\n")
		for _, res := range apply(t, conn, attempt("k", 1, `{}`), attempt("l", 1, `{}`)) {
			want(t, res, connectors.OK, "")
		}
		for column, null := range map[string]string{"version": "bigint NULL", "version_nanos": "int NULL", "digest": "varchar(99) NULL", "op": "varchar(99) NULL"} {
			switch d.dialect {
			case "postgres":
				d.exec(t, "ALTER TABLE e ALTER "+column+" DROP NOT NULL")
			case "mysql":
				d.exec(t, "ALTER TABLE e MODIFY "+column+" "+null)
			}
		}
		if d.dialect == "sqlite" { // which cannot alter a column
			d.exec(t, "DROP TABLE e", `CREATE TABLE e ("key" TEXT PRIMARY KEY, version, version_nanos, digest, op, updated_at, a)`)
		}
		k, l := attempt("k", 2, ""), attempt("l", 2, "")
		for _, res := range apply(t, conn, k, l) {
			want(t, res, connectors.OK, "")
		}
		if got := compare(t, conn, k); got[0].Version != k.Version || len(got[0].Changed) > 0 {
			t.Errorf("after the delete: %+v", got)
		}
		d.exec(t, "INSERT INTO e ("+d.quote("key")+", updated_at) VALUES ('k', '2026-03-01 00:00:00')")
		if got := compare(t, conn, k, l); !got[0].IsZero() || fmt.Sprint(got[0].Changed) != "[key]" || len(got[1].Changed) > 0 {
			t.Errorf("after the row was put back: %+v", got)
		}
	})
}

// A value is refused for what the table is, not for what it was when the connector last
// looked.
func TestColumnsThatWereWidenedTakeMore(t *testing.T) {
	for dialect, widen := range map[string]string{"postgres": "ALTER a TYPE varchar(20)", "mysql": "MODIFY a varchar(20)"} {
		d := sqlTargets()[dialect](t)
		d.make(t, "v", map[string]string{"postgres": `"key" text`, "mysql": "`key` varchar(5)"}[dialect]+" PRIMARY KEY, a varchar(5)")
		conn := d.openHere(t, "mode: table\ntable: v\ncolumns: [{name: a}]\n")
		want(t, apply(t, conn, attempt("k", 1, `{"a":"12345"}`))[0], connectors.OK, "")
		d.exec(t, "ALTER TABLE v "+widen)
		results := apply(t, conn, attempt("k", 2, `{"a":"1234567"}`), attempt("l", 1, `{"a":"x"}`),
			attempt("m", 1, `{"a":"123456789012345678901"}`))
		want(t, results[0], connectors.OK, "")
		want(t, results[1], connectors.OK, "")
		if want(t, results[2], connectors.Permanent, "payload"); strings.Contains(results[2].Err.Error(), "lossy") {
			t.Errorf("the advice does not help: %v", results[2].Err)
		}
		if n := d.count(t, "SELECT count(*) FROM v WHERE a = '1234567' AND version = 2 OR a = 'x'"); n != 2 {
			t.Errorf("%d rows, want 2", n)
		}
	}
}

// Partitions are made with time, so a row that none takes is not a dead letter at once; a
// column that the database generates is for somebody to see to.
func TestTablesThatTakeNotEveryRow(t *testing.T) {
	for dialect, c := range map[string]struct{ table, more string }{
		"postgres": {"CREATE TABLE v (%s, \"key\" text, a int, PRIMARY KEY (\"key\")) PARTITION BY LIST (\"key\")", "CREATE TABLE v1 PARTITION OF v FOR VALUES IN ('k')"},
		"mysql":    {"CREATE TABLE v (%s, `key` varchar(100) PRIMARY KEY, a int) PARTITION BY LIST COLUMNS (`key`) (PARTITION p1 VALUES IN ('k'))", ""},
	} {
		d := sqlTargets()[dialect](t)
		d.exec(t, fmt.Sprintf(c.table, d.ownColumns()))
		generated := "ALTER TABLE v ADD g int GENERATED ALWAYS AS (a + 1) STORED"
		if dialect == "postgres" {
			d.exec(t, c.more, "GRANT ALL ON v TO "+d.user)
		}
		conn := d.openHere(t, "mode: table\ntable: v\ncolumns: [{name: a}]\n")
		results := apply(t, conn, attempt("k", 1, `{"a":1}`), attempt("l", 1, `{"a":1}`))
		want(t, results[0], connectors.OK, "")
		want(t, results[1], connectors.Unready, map[string]string{"postgres": "23514", "mysql": "1526"}[dialect])
		d.exec(t, generated)
		conn = d.openHere(t, "mode: table\ntable: v\ncolumns: [{name: a}, {name: g}]\n")
		want(t, apply(t, conn, attempt("k", 2, `{"a":1,"g":7}`))[0], connectors.Misconfigured, "")
	}
}

// A table that is STRICT keeps what a column of the type ANY is given.
func TestAnyOfAStrictTable(t *testing.T) {
	d := sqliteTarget(t)
	d.exec(t, `CREATE TABLE v ("key" TEXT PRIMARY KEY, version INTEGER, version_nanos INTEGER, digest TEXT, op TEXT, updated_at TEXT, a ANY) STRICT`)
	conn := d.openHere(t, "mode: table\ntable: v\ncolumns: [{name: a}]\n")
	want(t, apply(t, conn, attempt("k", 1, `{"a":"007"}`))[0], connectors.OK, "")
	if n := d.count(t, "SELECT count(*) FROM v WHERE typeof(a) = 'text' AND a = '007'"); n != 1 {
		t.Error("the text was not kept")
	}
}

// A document that a column of SQLite would turn into a number is refused.
func TestDocumentsInAColumnOfAnyType(t *testing.T) {
	d := sqliteTarget(t)
	d.make(t, "v", `"key" TEXT PRIMARY KEY, content ANY`)
	conn := d.openHere(t, "table: v\ncontent: text\n")
	results := apply(t, conn, attempt("a", 1, "text"), attempt("b", 1, "007"))
	want(t, results[0], connectors.OK, "")
	want(t, results[1], connectors.Permanent, "payload")
}
