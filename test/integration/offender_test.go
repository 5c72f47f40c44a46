package integration

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/pkg/events"
)

// Whatever a target says to one key, a hundred others are delivered at their first attempt
// (guarantee 7): for each answer of an HTTP target that has a treatment of its own, and each
// way in which a database refuses a row.
func TestOneOffenderOfEachKindOfTarget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.worker("w1")
	run := func(name string, open func(c *caseRig), bad string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := &rig{t: t, crew: r.crew, url: r.url, nc: r.nc, js: r.js, names: r.names, registry: r.registry, pub: r.pub, ledger: r.ledger, lease: r.lease}
			c := &caseRig{rig: own, name: name, calls: map[string][]call{}}
			open(c)
			c.ends(c.push("first", 1, `{"v":"x"}`), events.Delivered) // the worker has met another key
			c.push("bad", 1, bad)
			var others []events.Update
			for k := range 100 {
				others = append(others, c.push(fmt.Sprint("k", k), 1, `{"v":"x"}`))
			}
			for _, u := range others {
				if ack := c.ends(u, events.Delivered); ack.Attempts != 1 {
					t.Errorf("not at the first attempt: %+v", ack)
				}
			}
		})
	}
	for _, status := range []int{302, 400, 401, 403, 404, 409, 422, 429, 500, 503} {
		run(fmt.Sprint("http-", status), func(c *caseRig) {
			c.open(c.name, "http", 3, map[string]any{"method": "PUT", "url": c.serve(func(w http.ResponseWriter, _ *http.Request, key string, _ int) {
				if key == "bad" {
					w.WriteHeader(status)
				}
			})})
		}, `{"v":"x"}`)
	}
	for name, ddl := range map[string]string{
		"check":       "create table %s(" + ours + ", v text check (v <> 'bad'))",
		"too-long":    "create table %s(" + ours + ", v varchar(2))",
		"foreign-key": "create table %s(" + ours + ", v text references rows_there(v))",
		"trigger":     "create table %s(" + ours + ", v text); create trigger refuse before insert on %[1]s for each row when (new.v = 'bad') execute function refuse()",
	} {
		run("sql-"+name, func(c *caseRig) {
			dsn, table := testdb.Postgres(c.t), "rows_"+fmt.Sprint(len(name))
			openBase(c.t, "pgx", dsn, "create table rows_there(v text primary key)", "insert into rows_there values ('x')",
				"create function refuse() returns trigger language plpgsql as $$ begin raise insufficient_privilege; end $$",
				fmt.Sprintf(ddl, table))
			config := map[string]any{"dialect": "postgres", "dsn": dsn, "mode": "table", "table": table, "columns": []any{map[string]any{"name": "v"}}}
			c.open(c.name, "sql", 3, config)
		}, `{"v":"bad"}`)
	}
}
