package connsql_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A statement ends at the server although nobody cancels it.
func TestStatementsEndAtTheServer(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		if d.dialect == "sqlite" {
			t.Log("does not apply: there is no server")
			return
		}
		env := d.env()
		env.Timeout = time.Second
		c := d.openEnv(t, env, d.dsn, "auto_create: true\n")
		closeHere(t, c)
		want(t, apply(t, c, attempt("k", 1, `{}`))[0], connectors.OK, "")
		code := "57014"
		if d.dialect == "mysql" {
			code = "" // the server and the driver's own limit of a read are equally fast
			d.exec(t, "CREATE TRIGGER slow BEFORE UPDATE ON "+table+" FOR EACH ROW SET @s = SLEEP(60)")
		} else {
			d.exec(t, "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END'",
				"CREATE TRIGGER slow BEFORE UPDATE ON "+table+" FOR EACH ROW EXECUTE FUNCTION slow()")
		}
		start := time.Now()
		want(t, c.Apply(t.Context(), []connectors.Attempt{attempt("k", 2, `{}`)})[0], connectors.Transient, code)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("the statement took %v", took)
		}
		d.exec(t, "DROP TRIGGER slow"+map[string]string{"postgres": " ON " + table}[d.dialect])
		want(t, settle(t, c, attempt("k", 2, `{}`)), connectors.OK, "")
	})
}

// The pool has as many connections as there are calls at once, and no more even
// if there are more.
func TestConnectionsAreLimited(t *testing.T) {
	sessions := map[string]string{
		"postgres": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'user_' || current_database()",
		"mysql":    "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND user = CONCAT('user_', DATABASE())",
	}
	everywhere(t, func(t *testing.T, d *target) {
		if d.dialect == "sqlite" {
			t.Log("does not apply: there is one connection")
			return
		}
		env := d.env()
		env.Concurrency = 2
		c := d.openEnv(t, env, d.dsn, "auto_create: true\n")
		closeHere(t, c)
		var running sync.WaitGroup
		for w := range 8 {
			running.Go(func() {
				for n := range int64(20) {
					want(t, settle(t, c, attempt(fmt.Sprintf("k%d", w), n+1, `{}`)), connectors.OK, "")
				}
			})
		}
		running.Wait()
		if n := d.count(t, sessions[d.dialect]); n < 1 || n > env.Concurrency {
			t.Errorf("there are %d connections, want 1 or 2", n)
		}
	})
}
