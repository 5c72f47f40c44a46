package connsql_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// poolers are PgBouncers with what they do not let a connection set, which they must be told.
func poolers() map[string][]string {
	return map[string][]string{
		"as it comes": nil,
		"takes what it ignores, statements get lost": {"ignore_startup_parameters = statement_timeout,lock_timeout,extra_float_digits"},
	}
}

func through(t *testing.T, settings ...string) (*target, *testdb.Server) {
	t.Helper()
	d := postgresTarget(t)
	pooler, dsn := testdb.PgBouncer(t, d.adminAt, append(settings, "default_pool_size = 3", "server_idle_timeout = 1")...)
	d.dsn = dsn
	return d, pooler
}

// A pooler in transaction mode is found out: it must not be configured, neither here nor there.
func TestThroughAPooler(t *testing.T) {
	for name, settings := range poolers() {
		for _, option := range []string{"", "pooler: true\n"} {
			t.Run(name+" "+option, func(t *testing.T) {
				t.Parallel()
				d, pooler := through(t, settings...)
				env := d.env()
				env.Concurrency = 8
				c := d.openEnv(t, env, d.dsn, "auto_create: true\n"+option)
				closeHere(t, c)
				want(t, apply(t, c, attempt("made", 1, `{}`))[0], connectors.OK, "")
				write := func(version int64) {
					var all sync.WaitGroup
					for writer := range 8 {
						all.Go(func() {
							for i := range 20 {
								batch := []connectors.Attempt{
									attempt(fmt.Sprintf("k-%d-%d", writer, i), version, `{"a":1}`),
									attempt(fmt.Sprintf("l-%d-%d", writer, i), version, `{"a":1}`),
								}
								results := apply(t, c, batch[:1+i%2]...)
								// Connections of before may be found closed, each once.
								for tries := 0; results[0].Class == connectors.Transient && tries < 20; tries++ {
									results = apply(t, c, batch[:1+i%2]...)
								}
								for _, res := range results {
									want(t, res, connectors.OK, "")
								}
							}
						})
					}
					all.Wait()
				}
				write(1)
				if err := c.(connectors.Prober).Probe(t.Context()); err != nil {
					t.Error(err)
				}
				if held, err := c.(connectors.Reader).Read(t.Context(), []string{"k-7-19"}); err != nil || held[0].Version.String() != "1" {
					t.Errorf("Read gave %v, %v", held, err)
				}
				want(t, apply(t, c, attempt("k-0-0", 1, `{"b":1}`))[0], connectors.Conflict, "")

				pooler.Stop(t)
				want(t, apply(t, c, attempt("while it is away", 1, `{}`))[0], connectors.Transient, "")
				pooler.Start(t)
				write(2)
				if n := d.count(t, "SELECT count(*) FROM "+table+" WHERE version = 2"); n != 8*30 {
					t.Errorf("%d rows are there, want %d", n, 8*30)
				}
			})
		}
	}
}

// A row that somebody has locked holds itself up for a part of the time only: the limits hold
// although no connection keeps settings.
func TestALockedRowBehindAPooler(t *testing.T) {
	d, _ := through(t)
	c := d.openHere(t, "auto_create: true\n")
	want(t, apply(t, c, attempt("k", 1, `{}`))[0], connectors.OK, "")
	release := d.hang(t, "k")
	defer release()
	results := apply(t, c, attempt("k", 2, `{}`), attempt("l", 2, `{}`))
	want(t, results[0], connectors.Transient, "55P03")
	want(t, results[1], connectors.OK, "")
}

// What a pooler refuses is shown in its own words.
func TestRefusalsOfAPooler(t *testing.T) {
	d, _ := through(t)
	d.dsn = strings.Replace(d.dsn, "postgres@", "stranger@", 1)
	res := apply(t, d.openHere(t, "auto_create: true\n"), attempt("k", 1, `{}`))[0]
	if want(t, res, connectors.Transient, "08P01"); res.Err == nil || !strings.Contains(res.Err.Error(), "authentication failed") {
		t.Errorf("%v does not show the pooler's words", res.Err)
	}
}
