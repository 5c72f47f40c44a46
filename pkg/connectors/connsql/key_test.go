package connsql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// ownColumns are the guard's columns of a table that somebody else has made.
func (d *target) ownColumns() string {
	switch d.dialect {
	case "postgres":
		return "version bigint, version_nanos integer, digest text, op text, updated_at timestamptz"
	case "mysql":
		return "version bigint, version_nanos int, digest char(64), op varchar(16), updated_at datetime(6)"
	default:
		return "version INTEGER, version_nanos INTEGER, digest TEXT, op TEXT, updated_at TEXT"
	}
}

// make makes a table with these columns besides the guard's.
func (d *target) make(t testing.TB, table, columns string) {
	t.Helper()
	d.exec(t, "DROP TABLE IF EXISTS "+table, fmt.Sprintf("CREATE TABLE %s (%s, %s)", table, d.ownColumns(), columns))
	if d.dialect == "postgres" {
		d.exec(t, "GRANT ALL ON "+table+" TO "+d.user)
	}
}

// A column of one's own may take two keys for one, or change one. The row of the first key
// stays as it is, and the second key is never delivered into it.
func TestKeysThatOneRowWouldHoldAreRefused(t *testing.T) {
	key := map[string]string{"postgres": `"key"`, "mysql": "`key`", "sqlite": `"key"`}
	for dialect, columns := range map[string]map[string]struct{ column, first, second, third string }{
		"postgres": {
			"citext":               {"citext PRIMARY KEY", "key", "KEY", "other"},
			"collation":            {`text COLLATE "nocase" PRIMARY KEY`, "key", "KEY", "other"},
			"padded":               {"char(8) PRIMARY KEY", "a", "a ", "b"},
			"cut":                  {"varchar(3) PRIMARY KEY", "abc", "abc  ", "abd"},
			"integer":              {"int PRIMARY KEY", "7", "007", "8"},
			"bigint":               {"bigint PRIMARY KEY", "-9223372036854775808", "+7", "7"},
			"numeric":              {"numeric PRIMARY KEY", "1.0", "1.00", "2"},
			"scale":                {"numeric(5,1) PRIMARY KEY", "1.5", "1.46", "2.0"},
			"uuid":                 {"uuid PRIMARY KEY", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "00000000-0000-0000-0000-000000000000"},
			"domain over an int":   {"dom PRIMARY KEY", "7", "07", "8"},
			"inet":                 {"inet PRIMARY KEY", "10.0.0.1/32", "10.0.0.1", "10.0.0.2/32"},
			"double":               {"float8 PRIMARY KEY", "0.1", "0.10", "0.2"},
			"timestamptz":          {"timestamptz PRIMARY KEY", "2026-03-01 00:00:00+00", "2026-03-01T00:00:00Z", "2026-03-02 00:00:00+00"},
			"too long to be a key": {"name PRIMARY KEY", strings.Repeat("k", 63), strings.Repeat("k", 64), "k"},
		},
		"mysql": {
			"collation":         {"varchar(200) COLLATE utf8mb4_general_ci PRIMARY KEY", "key", "KEY", "other"},
			"accents":           {"varchar(200) COLLATE utf8mb4_unicode_ci PRIMARY KEY", "strasse", "straße", "other"},
			"spaces at the end": {"varchar(200) COLLATE utf8mb4_bin PRIMARY KEY", "a", "a ", "b"},
			"padded":            {"char(8) COLLATE utf8mb4_bin PRIMARY KEY", "a", "a ", "b"},
			"cut":               {"varchar(3) COLLATE utf8mb4_nopad_bin PRIMARY KEY", "abc", "abc ", "abd"},
			"integer":           {"int PRIMARY KEY", "7", "007", "8"},
			"unsigned":          {"bigint unsigned PRIMARY KEY", "18446744073709551615", "+7", "9007199254740993"},
			"uuid":              {"uuid PRIMARY KEY", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "00000000-0000-0000-0000-000000000001"},
			"filled up":         {"binary(3) PRIMARY KEY", "abc", "ab", "abd"},
		},
		"sqlite": {
			"collation":         {"TEXT COLLATE NOCASE PRIMARY KEY", "key", "KEY", "other"},
			"spaces at the end": {"TEXT COLLATE RTRIM PRIMARY KEY", "a", "a ", "b"},
			"integer":           {"INTEGER PRIMARY KEY", "7", "007", "8"},
			"affinity":          {"STRING PRIMARY KEY", "7", "7.0", "text"},
			"numeric":           {"NUMERIC PRIMARY KEY", "7", " 7", "8"},
		},
	} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			d := sqlTargets()[dialect](t)
			if dialect == "postgres" {
				d.exec(t, "CREATE EXTENSION citext", "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)", "CREATE DOMAIN dom AS int")
			}
			for name, c := range columns {
				t.Run(name, func(t *testing.T) {
					d.make(t, "p", key[dialect]+" "+c.column+", a varchar(10)")
					conn := d.openHere(t, "mode: table\ntable: p\ncolumns: [{name: a}]\n")
					want(t, apply(t, conn, attempt(c.first, 1, `{"a":"one"}`))[0], connectors.OK, "")
					// With others in the batch, which get through.
					results := apply(t, conn, attempt(c.second, 2, `{"a":"two"}`), attempt(c.third, 1, `{"a":"three"}`))
					if want(t, results[0], connectors.Permanent, ""); results[0].Err == nil || !strings.Contains(results[0].Err.Error(), "key") {
						t.Errorf("%v does not speak of the key", results[0].Err)
					}
					want(t, results[1], connectors.OK, "")
					for _, again := range apply(t, conn, attempt(c.first, 2, `{"a":"one"}`), attempt(c.third, 1, `{"a":"three"}`)) {
						want(t, again, connectors.OK, "")
					}
					if n := d.count(t, "SELECT count(*) FROM p WHERE version = 2 AND a = 'one' OR version = 1 AND a = 'three'"); n != 2 {
						t.Errorf("%d of two rows hold what was delivered", n)
					}
					held, err := conn.(connectors.Reader).Read(t.Context(), []string{c.second, c.first})
					if err != nil || !held[0].IsZero() || held[1].Version.String() != "2" {
						t.Errorf("Read gave %v, %v", held, err)
					}
					keys, err := conn.(connectors.Lister).List(t.Context(), "", 1)
					if err != nil || len(keys) != 1 {
						t.Fatalf("List gave %q, %v", keys, err)
					}
					more, err := conn.(connectors.Lister).List(t.Context(), keys[0], 5)
					if both := fmt.Sprint(append(keys, more...)); err != nil || len(more) != 1 || !strings.Contains(both, c.first) || !strings.Contains(both, c.third) {
						t.Errorf("List gave %s, %v", both, err)
					}
				})
			}
		})
	}
}

// A column that would need a comparison of its own for keys is refused at once.
func TestColumnsThatCannotHoldKeys(t *testing.T) {
	for _, c := range []struct{ dialect, column string }{
		{"mysql", "`key` datetime(6) PRIMARY KEY"}, {"sqlite", `"key" REAL PRIMARY KEY`}, {"sqlite", `"key" ANY PRIMARY KEY`},
	} {
		d := sqlTargets()[c.dialect](t)
		d.make(t, "p", c.column+", a varchar(10)")
		conn := d.openHere(t, "mode: table\ntable: p\ncolumns: [{name: a}]\n")
		res := apply(t, conn, attempt("7", 1, `{"a":"one"}`))[0]
		if want(t, res, connectors.Misconfigured, "key_column"); !strings.Contains(res.Err.Error(), "key is of the type") {
			t.Errorf("%v does not name the column", res.Err)
		}
		if err := conn.(connectors.Prober).Probe(t.Context()); connectors.ClassOf(err) != connectors.Misconfigured {
			t.Errorf("Probe gave %v", err)
		}
	}
}
