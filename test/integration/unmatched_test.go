package integration

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// A channel with on_unmatch: delete keeps at its target what passes its filter, and nothing
// else: no row of an entity that has left the filter, none of one that never passed, be it
// while it is filled, after its worker was killed, or after its filter was changed.
func TestTargetHoldsWhatPassesTheFilter(t *testing.T) {
	t.Parallel()
	for name, table := range map[string]struct{ config, rows, marks string }{
		"marks of deletes in the table": {"table: held", "SELECT key FROM held WHERE op = 'upsert' ORDER BY key", "SELECT key FROM held"},
		"rows are removed": {
			"mode: table, table: held, on_delete: delete, columns: [{name: agency}]", "SELECT key FROM held ORDER BY key", "SELECT key FROM held_versions",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holdsWhatPasses(t, table.config, table.rows, table.marks)
		})
	}
}

func holdsWhatPasses(t *testing.T, config, passing, marks string) {
	s := newSite(t)
	dsn := filepath.Join(s.dir, "north.db")
	apply := func(filter string) {
		t.Helper()
		s.extsync("channels", "apply", "-f", s.file("topics.yaml", fmt.Sprintf(`
topics:
  - name: policies
channels:
  - name: north
    from: {topic: policies}
    filter: %s
    on_unmatch: delete
    connector: {kind: sql, config: {dialect: sqlite, dsn: %q, auto_create: true, %s}}
`, filter, dsn, config))).ok(t)
	}
	s.extsync("topics", "apply", "-f", s.file("topic.yaml", "topics: [{name: policies}]")).ok(t)
	push := func(key string, version int, agency string, args ...string) {
		t.Helper()
		s.extsync(append([]string{"push", "--topic", "policies", key, fmt.Sprint(version), "--data", fmt.Sprintf(`{"agency":%q}`, agency)}, args...)...).ok(t)
	}
	for i := range 6 {
		push(fmt.Sprint("p-", i), 1, []string{"north", "south"}[i%2])
	}
	apply(`.agency == "north"`)
	w := s.worker()
	rows := func(query string) (keys []string) {
		db, err := sql.Open("sqlite", "file:"+dsn+"?mode=ro&_pragma=busy_timeout(10000)")
		testkit.Must(t, err)
		defer func() { _ = db.Close() }()
		found, err := db.QueryContext(t.Context(), query)
		if err != nil { // there is no table yet
			return nil
		}
		defer func() { _ = found.Close() }()
		for found.Next() {
			var key string
			testkit.Must(t, found.Scan(&key))
			keys = append(keys, key)
		}
		testkit.Must(t, found.Err())
		return keys
	}
	holds := func(when string, want ...string) {
		t.Helper()
		testkit.Eventually(t, "the target to hold what passes "+when, func() bool {
			return slices.Equal(rows(passing), want)
		})
	}
	holds("once it is filled", "p-0", "p-2", "p-4")
	wait := []string{"--wait", testkit.Patience.String()}
	push("p-0", 2, "south", wait...)
	push("p-1", 2, "north", wait...)
	push("p-3", 2, "south", wait...)
	holds("after changes", "p-1", "p-2", "p-4")
	w.signal(t, os.Kill)
	w.wait(t)
	push("p-2", 2, "south")
	push("p-5", 2, "south")
	s.worker()
	s.extsync("wait", "--topic", "policies", "p-5@2", "--timeout", testkit.Patience.String()).ok(t)
	holds("after a kill", "p-1", "p-4")
	apply(`.agency == "north" and $key != "p-4"`)
	s.extsync("resync", "north").ok(t)
	holds("after a change of the filter", "p-1")
	if got := rows(marks); slices.Contains(got, "p-3") || slices.Contains(got, "p-5") {
		t.Errorf("the table has marks of keys that it never had: %q", got)
	}
	e := s.extsync("get", "p-0", "--channel", "north", "--json").run(t)
	var doc struct {
		Channels []struct{ State, Sync string }
	}
	decodeJSON(t, e.out, &doc)
	if len(doc.Channels) != 1 || doc.Channels[0].State != "filtered" || doc.Channels[0].Sync != "filtered" {
		t.Errorf("get: %s", e.out)
	}
	if e := s.extsync("audit", "north").run(t); e.code != cli.ExitOK {
		t.Errorf("audit: %s%s", e.out, e.err)
	}
}
