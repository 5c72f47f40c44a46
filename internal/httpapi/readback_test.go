package httpapi_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver

	"github.com/hms-utl/extsync/pkg/connectors"
)

// fields returns the differences of a read-back by path.
func fieldsOf(doc map[string]any) map[string]string {
	out := map[string]string{}
	list, _ := doc["fields"].([]any)
	for _, f := range list {
		text := fmt.Sprint(at(f, "difference"))
		if equal := at(f, "equal"); equal != nil {
			text += fmt.Sprint(" ", equal)
		}
		out[fmt.Sprint(at(f, "path"))] = text
	}
	return out
}

// A worker reads a real database: what somebody has changed there shows, field by field, and
// what the channel hides does not, also where the mapping has moved it.
func TestReadBackOverHTTP(t *testing.T) {
	r := newRig(t).serve()
	file := filepath.Join(t.TempDir(), "target.db")
	r.cfg.Allow.Databases = connectors.List{filepath.Dir(file)}
	r.call(http.StatusCreated, http.MethodPut, "/v1/channels/db", r.config("db", func(m map[string]any) {
		m["mapping"], m["redact"] = `{status: .status, number: .ssn, note: .note, n: .n}`, []string{".ssn"}
		m["connector"] = map[string]any{"kind": "sql", "config": map[string]any{"dialect": "sqlite", "dsn": file, "auto_create": true}}
	}), "If-None-Match", "*")
	const key = "/v1/channels/db/entities/k/read-back"
	if out := r.call(http.StatusServiceUnavailable, http.MethodPost, key, ""); out["reason"] != "no_worker" {
		t.Errorf("without a worker: %v", out)
	}
	r.work()
	body := `{"key":"k","version":3,"payload":{"status":"open","ssn":"078-05-1120","note":` + hostile + `,"n":1.10}}`
	body = strings.ReplaceAll(body, `\u0000`, "") // no column holds it
	if out := r.call(http.StatusOK, http.MethodPost, "/v1/channels/db/updates?wait=20s", body); at(out, "ack", "outcome") != "delivered" {
		t.Fatalf("ack: %v", out)
	}
	out := r.call(http.StatusOK, http.MethodPost, key, "")
	want := map[string]string{".status": "equal", ".number": "hidden true", ".note": "equal", ".n": "equal"}
	if got := fieldsOf(out); fmt.Sprint(got) != fmt.Sprint(want) || at(out, "target", "version") != "3" || at(out, "wanted", "version") != "3" || out["readable"] != true {
		t.Errorf("after the delivery: %v", out)
	}
	db, err := sql.Open("sqlite", file)
	r.must(err)
	defer func() { _ = db.Close() }()
	var table string
	r.must(db.QueryRowContext(t.Context(), `SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'extsync_%'`).Scan(&table))
	_, err = db.ExecContext(t.Context(), `UPDATE "`+table+`" SET content = '{"status":"closed","number":"1","n":1.1,"extra":{"a":[1]}}'`)
	r.must(err)
	resp, text := r.do(r.request(http.MethodPost, key, ""))
	if resp.StatusCode != http.StatusOK || strings.Contains(text, "078-05") {
		t.Fatalf("%s: %s", resp.Status, text)
	}
	out = r.call(http.StatusOK, http.MethodPost, key, "")
	want = map[string]string{".status": "changed", ".number": "hidden false", ".note": "only_ours", ".n": "equal", ".extra.a[0]": "only_there"}
	if got := fieldsOf(out); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after a change at the target: %v\n%v", got, out)
	}
	list, _ := out["fields"].([]any)
	if at(list[len(list)-1], "difference") != "equal" {
		t.Errorf("equal fields come last: %v", list)
	}
	if got := r.acts("payload.read", "k"); !slices.Contains(got, "channel db done") || !slices.Contains(got, "channel db failed") {
		t.Errorf("audit log: %v", got)
	}
	// The target is not asked more often than it is to bear.
	refused := false
	for range 20 {
		resp, text := r.do(r.request(http.MethodPost, key, ""))
		refused = refused || resp.StatusCode == http.StatusServiceUnavailable && strings.Contains(text, "not_read")
	}
	if !refused {
		t.Error("twenty at once were all read")
	}
}
