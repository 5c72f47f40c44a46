package integration

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the targets' driver

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/events"
)

// openBase connects to a database that a case writes to, and prepares it.
func openBase(t testing.TB, driver, dsn string, statements ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	testkit.Must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return db
}

// holds compares the one value that a query gives; "" stands for no row.
func holds(t testing.TB, db *sql.DB, query, want string) {
	t.Helper()
	var got sql.NullString
	if err := db.QueryRowContext(t.Context(), query).Scan(&got); err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatalf("%s: %v", query, err)
	}
	if got.String != want {
		t.Errorf("%s gives %q, want %q", query, got.String, want)
	}
}

// ours are the columns that the connector needs in a table.
const ours = "key text primary key, version bigint not null, version_nanos int not null, digest text not null, op text not null, updated_at timestamptz not null"

// table is the configuration of a channel to a table of PostgreSQL.
func table(dsn, name, column string) map[string]any {
	return map[string]any{"dialect": "postgres", "dsn": dsn, "mode": "table", "table": name, "columns": []any{map[string]any{"name": column}}}
}

func childComesBeforeItsParent(c *caseRig) {
	dsn := testdb.Postgres(c.t)
	db := openBase(c.t, "pgx", dsn,
		"create table parents("+ours+", name text)",
		"create table children("+ours+", parent text references parents(key))")
	c.open(c.name, "sql", 3, table(dsn, "children", "parent"))
	c.open("parent", "sql", 3, table(dsn, "parents", "name"))
	child := c.push("c", 1, `{"parent":"p"}`)
	if rec := c.failing(c.name, "c"); rec.Error.Code != "23503" {
		c.t.Errorf("without its parent: %+v", rec.Error)
	}
	c.ends(c.pushTo("parent", "p", 1, `{"name":"x"}`), events.Delivered)
	c.ends(child, events.Delivered)
	holds(c.t, db, "select parent from children where key = 'c'", "p")
}

func deleteReachesNotNull(c *caseRig) {
	dsn := testdb.Postgres(c.t)
	db := openBase(c.t, "pgx", dsn, "create table users("+ours+", email text not null)")
	config := table(dsn, "users", "email")
	config["on_delete"], config["auto_create"] = "delete", true // of the table that holds the versions
	c.open(c.name, "sql", 3, config)
	c.ends(c.push("u", 1, `{"email":"u@x"}`), events.Delivered)
	holds(c.t, db, "select email from users", "u@x")
	c.ends(c.push("u", 2, ""), events.Delivered)
	holds(c.t, db, "select email from users", "")
	c.ends(c.push("u", 3, `{"email":"back@x"}`), events.Delivered)
	holds(c.t, db, "select email from users", "back@x")
}

func numberIsNotCut(c *caseRig) {
	dsn := testdb.MariaDB(c.t)
	c.open(c.name, "sql", 3, map[string]any{
		"dialect": "mysql", "dsn": dsn, "mode": "table", "table": "prices", "auto_create": true,
		"columns": []any{map[string]any{"name": "price", "type": "numeric"}},
	})
	fits, cut := c.push("fits", 1, `{"price":0.12345678901234567891}`), c.push("cut", 1, `{"price":0.1234567890123456789012345}`)
	c.ends(fits, events.Delivered)
	if ack := c.ends(cut, events.DeadLettered); !strings.Contains(ack.Message, "price") {
		c.t.Errorf("it is not said which column is too small: %+v", ack)
	}
	db := openBase(c.t, "mysql", dsn)
	holds(c.t, db, "select price from prices where `key` = 'fits'", "0.12345678901234567891")
	holds(c.t, db, "select price from prices where `key` = 'cut'", "")
	c.extsync("audit", c.name).ok(c.t)
}

func poolerNeedsNoSetting(settings ...string) func(c *caseRig) {
	return func(c *caseRig) {
		const keys, versions = 40, 3
		dsn := testdb.Postgres(c.t)
		_, through := testdb.PgBouncer(c.t, dsn, settings...)
		c.open(c.name, "sql", 3, map[string]any{"dialect": "postgres", "dsn": through, "table": "pooled", "auto_create": true})
		for version := range int64(versions) {
			var updates []events.Update
			for k := range keys {
				updates = append(updates, c.push(fmt.Sprint("k", k), version+1, fmt.Sprintf(`{"a":%d}`, version)))
			}
			for _, u := range updates {
				c.ends(u, events.Delivered)
			}
		}
		holds(c.t, openBase(c.t, "pgx", dsn), fmt.Sprintf("select count(*) from pooled where version = %d", versions), fmt.Sprint(keys))
	}
}

func valueIsCastToItsColumn(c *caseRig) {
	dsn := testdb.Postgres(c.t)
	db := openBase(c.t, "pgx", dsn,
		"create type rating as enum ('low', 'high')",
		"create table ratings("+ours+", rating rating)")
	c.open(c.name, "sql", 3, table(dsn, "ratings", "rating"))
	good, bad := c.push("k", 1, `{"rating":"high"}`), c.push("bad", 1, `{"rating":"none of them"}`)
	c.ends(good, events.Delivered)
	holds(c.t, db, "select rating from ratings", "high")
	c.ends(bad, events.DeadLettered)
}
