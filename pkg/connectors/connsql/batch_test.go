package connsql_test

import (
	"fmt"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// TestLargeBatch: every row of a batch that takes more than one statement gets
// its own verdict, whichever rows are beside it, and the last ones are no
// exception.
func TestLargeBatch(t *testing.T) {
	const rows = 233
	for name, newTarget := range sqlTargets() {
		t.Run(name, func(t *testing.T) {
			d := newTarget(t)
			c := d.openHere(t, "auto_create: true\n")
			there := make([]connectors.Attempt, rows)
			next := make([]connectors.Attempt, 2*rows)
			for i := range rows {
				there[i] = attempt(fmt.Sprintf("k-%03d", i), 5, `{"a":5}`)
				// By turns newer, older, other content, the same, a tombstone.
				content := [...]string{`{"a":6}`, `{"a":4}`, `{"b":5}`, `{"a":5}`, ""}[i%5]
				next[i] = attempt(there[i].Key, [...]int64{6, 4, 5, 5, 6}[i%5], content)
				next[rows+i] = attempt(fmt.Sprintf("n-%03d", i), 1, `{"a":1}`)
			}
			for _, res := range apply(t, c, there...) {
				want(t, res, connectors.OK, "")
			}
			for i, res := range apply(t, c, next...) {
				class, held := connectors.OK, next[i].Tag()
				if i < rows && i%5 == 1 {
					class, held = connectors.Stale, there[i].Tag()
				}
				if i < rows && i%5 == 2 {
					class, held = connectors.Conflict, there[i].Tag()
				}
				want(t, res, class, "")
				if got := d.held(t, table, next[i].Key)[next[i].Key]; got.Tag != held {
					t.Errorf("row %d: the table holds %v, want %v", i, got, held)
				}
			}
		})
	}
}

// TestBadRowOfALargeBatch: a row that the database itself refuses is the only one
// that fails, in a table so wide that few rows fit one statement.
func TestBadRowOfALargeBatch(t *testing.T) {
	const rows, columns, bad = 60, 600, 41
	d := sqliteTarget(t)
	config, create := "mode: table\ncolumns:\n", `CREATE TABLE "`+table+`" (key TEXT PRIMARY KEY, version INTEGER, version_nanos INTEGER, digest TEXT, op TEXT, updated_at TEXT`
	for i := range columns {
		config += fmt.Sprintf("  - {name: c%d, type: integer, jq: .n}\n", i)
		create += fmt.Sprintf(", c%d INTEGER CHECK (c%d <> %d)", i, i, bad)
	}
	d.exec(t, create+")")
	c := d.openHere(t, config)
	batch := make([]connectors.Attempt, rows)
	for i := range batch {
		batch[i] = attempt(fmt.Sprintf("k-%02d", i), 1, fmt.Sprintf(`{"n":%d}`, i))
	}
	for i, res := range apply(t, c, batch...) {
		if i == bad {
			want(t, res, connectors.Permanent, "")
			continue
		}
		want(t, res, connectors.OK, "")
		if got := d.count(t, fmt.Sprintf("SELECT c0 + c%d FROM %q WHERE key = ?", columns-1, table), batch[i].Key); got != 2*i {
			t.Errorf("row %d holds %d, want %d", i, got, 2*i)
		}
	}
}

// TestRowThatATriggerForbids: an error that usually is everybody's, and that a trigger raises
// for one row, is that row's alone.
func TestRowThatATriggerForbids(t *testing.T) {
	const rows, bad = 60, 41
	raise := map[string][]string{
		"postgres": {
			`CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE insufficient_privilege; END $$`,
			`CREATE TRIGGER forbid BEFORE INSERT ON ` + table + ` FOR EACH ROW WHEN (new.n = 41) EXECUTE FUNCTION forbid()`,
		},
		"mysql": {
			"CREATE TRIGGER forbid BEFORE INSERT ON `" + table + "` FOR EACH ROW IF new.n = 41 THEN SIGNAL SQLSTATE '42000' SET MYSQL_ERRNO = 1142; END IF",
		},
	}
	for name, newTarget := range sqlTargets() {
		if raise[name] == nil {
			continue // its triggers raise errors of rows only
		}
		t.Run(name, func(t *testing.T) {
			d := newTarget(t)
			d.make(t, table, d.quote("key")+" varchar(20) PRIMARY KEY, n bigint")
			d.exec(t, raise[name]...)
			c := d.openHere(t, "mode: table\ncolumns:\n  - {name: n, type: integer}\n")
			batch := make([]connectors.Attempt, rows)
			for i := range batch {
				batch[i] = attempt(fmt.Sprintf("k-%02d", i), 1, fmt.Sprintf(`{"n":%d}`, i))
			}
			for i, res := range apply(t, c, batch...) {
				class := connectors.OK
				if i == bad {
					class = connectors.Misconfigured
				}
				want(t, res, class, "")
			}
		})
	}
}

// TestEveryRowIsForbidden: what the database refuses every row for is not looked for in each
// of them.
func TestEveryRowIsForbidden(t *testing.T) {
	const rows, halvings = 64, 7
	d := postgresTarget(t)
	d.make(t, table, d.quote("key")+" varchar(20) PRIMARY KEY, n bigint")
	d.exec(t, `CREATE SEQUENCE asked`, // a rollback does not take back what a sequence gave
		`CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN PERFORM nextval('asked'); RAISE insufficient_privilege; END $$`,
		`CREATE TRIGGER forbid BEFORE INSERT ON `+table+` FOR EACH ROW EXECUTE FUNCTION forbid()`)
	c := d.openHere(t, "mode: table\ncolumns:\n  - {name: n, type: integer}\n")
	batch := make([]connectors.Attempt, rows)
	for i := range batch {
		batch[i] = attempt(fmt.Sprintf("k-%02d", i), 1, `{"n":1}`)
	}
	for _, res := range apply(t, c, batch...) {
		want(t, res, connectors.Misconfigured, "")
	}
	if n := d.count(t, `SELECT last_value FROM asked`); n != halvings+1 {
		t.Errorf("the database was asked %d times, want %d: halves down to one row, and a second row", n, halvings+1)
	}
}

// TestBatchesOfAllSizes: statements for several numbers of rows stay compiled, and
// notice that somebody else has changed the table.
func TestBatchesOfAllSizes(t *testing.T) {
	d := sqliteTarget(t)
	c := d.openHere(t, "auto_create: true\n")
	for _, n := range []int{1, 7, 8, 9, 50, 57, 58, 59, 167} {
		batch := make([]connectors.Attempt, n)
		for i := range batch {
			batch[i] = attempt(fmt.Sprintf("k-%03d", i), 1, fmt.Sprintf(`{"n":%d}`, i))
		}
		for i, res := range apply(t, c, batch...) {
			want(t, res, connectors.OK, "")
			if got := d.held(t, table, batch[i].Key)[batch[i].Key]; got.Version != batch[i].Version {
				t.Errorf("%d rows: row %d holds %v", n, i, got)
			}
		}
		if got := d.count(t, fmt.Sprintf("SELECT count(DISTINCT updated_at) + count(*) FROM %q", table)); got != n+1 {
			t.Errorf("%d rows: rows and times are %d", n, got)
		}
		d.exec(t, fmt.Sprintf("ALTER TABLE %q RENAME COLUMN digest TO other", table))
		want(t, apply(t, c, batch...)[0], connectors.Misconfigured, "")
		d.exec(t, fmt.Sprintf("ALTER TABLE %q RENAME COLUMN other TO digest", table))
		want(t, apply(t, c, batch...)[0], connectors.OK, "")
		d.exec(t, fmt.Sprintf("DROP TABLE %q", table))
	}
}
