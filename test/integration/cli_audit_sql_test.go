package integration

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
)

// An audit tells of a row that somebody put back after a delete had removed it, and of one
// whose digest is gone.
func TestAuditOfRowsWithoutVersionOrDigest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := filepath.Join(s.dir, "erp.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), "PRAGMA busy_timeout = 10000; "+statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec(`CREATE TABLE own (key TEXT PRIMARY KEY, version, version_nanos, digest, op, updated_at, a)`)
	s.extsync("channels", "apply", "-f", s.file("channels.yaml", fmt.Sprintf(`
channels:
  - name: erp_db
    connector: {kind: sql, config: {dialect: sqlite, dsn: %q, auto_create: true, mode: table, table: own, on_delete: delete, columns: [{name: a}]}}
`, path))).ok(t)
	s.worker()
	for _, key := range []string{"kept", "gone", "back"} {
		s.extsync("push", "erp_db", key, "1", "--data", `{"a":"x"}`, "--wait", "30s").ok(t)
	}
	for _, key := range []string{"gone", "back"} {
		s.extsync("push", "erp_db", key, "2", "--op", "delete", "--wait", "30s").ok(t)
	}
	audit := func(code int) map[string]string {
		t.Helper()
		e := s.extsync("audit", "erp_db", "--json").run(t)
		if e.code != code {
			t.Fatalf("audit: code %d\n%s%s", e.code, e.out, e.err)
		}
		var doc auditDoc
		decodeJSON(t, e.out, &doc)
		found := make(map[string]string)
		for _, f := range doc.Findings {
			found[f.Key] = f.Difference
		}
		return found
	}
	if found := audit(cli.ExitOK); len(found) > 0 {
		t.Errorf("before anything is changed: %v", found)
	}
	exec(`INSERT INTO own (key, a) VALUES ('back', 'y')`)
	exec(`UPDATE own SET digest = NULL WHERE key = 'kept'`)
	if found := audit(cli.ExitFound); fmt.Sprint(found) != "map[back:different kept:different]" {
		t.Errorf("%v", found)
	}
}
