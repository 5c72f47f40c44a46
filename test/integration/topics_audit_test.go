package integration

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// An audit of one of a topic's channels compares the target with the topic, as far as the
// channel takes its keys, and repairs that target alone.
func TestAuditOfAChannelOfATopic(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dsn := func(name string) string { return filepath.Join(s.dir, name+".db") }
	s.extsync("channels", "apply", "-f", s.file("topics.yaml", fmt.Sprintf(`
topics:
  - name: policies
channels:
  - name: all
    from: {topic: policies}
    connector: {kind: sql, config: {dialect: sqlite, dsn: %q, auto_create: true}}
  - name: north
    from: {topic: policies, keys: n-}
    connector: {kind: sql, config: {dialect: sqlite, dsn: %q, auto_create: true}}
`, dsn("all"), dsn("north")))).ok(t)
	s.worker()
	for _, key := range []string{"n-1", "n-2", "n-3", "s-1", "s-2"} {
		s.extsync("push", "--topic", "policies", key, "4", "--data", `{"n":1}`, "--wait", testkit.Patience.String()).ok(t)
	}
	audit := func(channel string, code int, args ...string) (doc auditDoc) {
		t.Helper()
		e := s.extsync(append([]string{"audit", channel, "--json"}, args...)...).run(t)
		if e.code != code {
			t.Fatalf("audit %s %q: code %d\n%s%s", channel, args, e.code, e.out, e.err)
		}
		decodeJSON(t, e.out, &doc)
		return doc
	}
	for channel, keys := range map[string]int64{"all": 5, "north": 3} {
		if doc := audit(channel, cli.ExitOK); doc.Summary.Looked != keys {
			t.Errorf("audit of %s: %+v", channel, doc)
		}
	}
	exec := func(name, statement string) {
		t.Helper()
		db, err := sql.Open("sqlite", dsn(name))
		testkit.Must(t, err)
		defer func() { _ = db.Close() }()
		_, err = db.ExecContext(t.Context(), "PRAGMA busy_timeout = 10000; "+statement)
		testkit.Must(t, err)
	}
	exec("north", "DELETE FROM extsync_north WHERE key = 'n-1'")
	exec("north", "UPDATE extsync_north SET version = 1 WHERE key = 'n-2'")
	exec("all", "DELETE FROM extsync_all WHERE key = 's-1'")
	if doc := audit("north", cli.ExitOK, "--repair", "--yes"); doc.Summary.Missing != 1 || doc.Summary.Behind != 1 || doc.Repaired != 2 {
		t.Errorf("repair of north: %+v", doc)
	}
	if doc := audit("north", cli.ExitOK); len(doc.Findings) != 0 {
		t.Errorf("after the repair: %+v", doc)
	}
	if doc := audit("all", cli.ExitFound); doc.Summary.Missing != 1 {
		t.Errorf("all was repaired, too: %+v", doc)
	}
	if doc := audit("all", cli.ExitOK, "--repair", "--yes"); doc.Repaired != 1 {
		t.Errorf("repair of all: %+v", doc)
	}
	audit("all", cli.ExitOK)
	exec("all", "INSERT INTO extsync_all SELECT 'alien', version, version_nanos, digest, op, content, updated_at FROM extsync_all WHERE key = 'n-1'")
	if doc := audit("all", cli.ExitFound); doc.Summary.Extra != 1 {
		t.Errorf("a row of nobody: %+v", doc)
	}
}
