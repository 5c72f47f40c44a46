package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
)

func (r *rig) config(name string, change func(map[string]any)) string {
	r.t.Helper()
	data, err := json.Marshal(r.channel(name))
	r.must(err)
	var m map[string]any
	r.must(json.Unmarshal(data, &m))
	change(m)
	data, err = json.Marshal(m)
	r.must(err)
	return string(data)
}

// What is wrong with a request is said once and where it is: a body that is not JSON had
// no key, no payload and no id, too.
func TestErrorsNameTheFieldThatIsWrong(t *testing.T) {
	r := newRig(t).serve()
	for body, want := range map[string]string{
		`{"key":`: "body",
		"{\"key\":\"a\xff\",\"version\":1,\"payload\":{}}": "body",
		`{"key":"","version":1,"payload":{}}`:              "body.key",
		`{"key":"k","version":0,"payload":{}}`:             "body.version",
		`{"key":"k","version":1,"op":"boo","payload":{}}`:  "body.op",
	} {
		doc := r.call(http.StatusUnprocessableEntity, http.MethodPost, "/v1/channels/erp/updates", body)
		list, _ := doc["errors"].([]any)
		if len(list) != 1 || list[0].(map[string]any)["location"] != want { //nolint:forcetypeassert // as OpenAPI has it
			t.Errorf("%q: %v; want one error, at %s", body, list, want)
		}
	}
}

// Keys that are steps in a path keep their address: clients and servers took them for
// the directory.
func TestKeysThatAreStepsInAPath(t *testing.T) {
	r := newRig(t).serve()
	for _, key := range []string{".", "..", "..a", "a/../b"} {
		doc := r.call(http.StatusAccepted, http.MethodPost, "/v1/channels/erp/updates", update(key, "1", "x"))
		see, _ := doc["see"].(string)
		if got := r.call(http.StatusOK, http.MethodGet, see, ""); got["key"] != key {
			t.Errorf("%s of key %q is %v", see, key, got)
		}
	}
}

func TestChannelsOverHTTP(t *testing.T) {
	r := newRig(t).serve()
	const path = "/v1/channels/third"
	body := r.config("third", func(map[string]any) {})
	r.call(http.StatusPreconditionRequired, http.MethodPut, path, body)
	dry := r.call(http.StatusOK, http.MethodPut, path+"?dry_run=true", body)
	if dry["change"] != "created" || dry["revision"] != nil {
		t.Errorf("dry run: %v", dry)
	}
	r.call(http.StatusNotFound, http.MethodGet, path, "")
	for _, tag := range []string{`"0"`, "*"} { // nothing is there that could match
		r.call(http.StatusPreconditionFailed, http.MethodPut, path, body, "If-Match", tag)
	}
	r.call(http.StatusCreated, http.MethodPut, path, body, "If-None-Match", "*")
	r.call(http.StatusPreconditionFailed, http.MethodPut, path, body, "If-None-Match", "*")
	resp, _ := r.do(r.request(http.MethodGet, path, ""))
	tag := resp.Header.Get("ETag")
	faster := r.config("third", func(m map[string]any) { m["rate"] = 5 })
	changed := r.call(http.StatusOK, http.MethodPut, path, faster, "If-Match", tag)
	if d, _ := changed["fields"].([]any); len(d) != 1 || changed["change"] != "changed" {
		t.Errorf("change: %v", changed)
	}
	r.call(http.StatusPreconditionFailed, http.MethodPut, path, body, "If-Match", tag)
	r.call(http.StatusUnprocessableEntity, http.MethodPut, path+"?dry_run=true", r.config("third", func(m map[string]any) { m["mode"] = "every" }))
	bad := r.call(http.StatusUnprocessableEntity, http.MethodPut, path+"?dry_run=true", `{"colour":1,"connector":{"kind":"http"}}`)
	if d, _ := bad["detail"].(string); !strings.Contains(d, "colour") {
		t.Errorf("bad fields: %v", bad)
	}
	for _, location := range []string{"body.colour", "body.connector.config.url"} {
		list, _ := bad["errors"].([]any)
		if !slices.ContainsFunc(list, func(e any) bool { return at(e, "location") == location }) {
			t.Errorf("%s is not among %v", location, list)
		}
	}

	r.call(http.StatusOK, http.MethodPut, path+"/pause", "")
	r.call(http.StatusAccepted, http.MethodPost, path+"/updates", update("k", "1", "x"))
	st := r.call(http.StatusOK, http.MethodGet, path+"/status", "")
	if st["state"] != "paused" || st["undelivered"] != 1.0 || st["oldest"] == nil || st["circuit"] != nil { // no worker runs
		t.Errorf("status: %v", st)
	}
	if reasons, _ := st["reasons"].([]any); len(reasons) != 1 || !strings.Contains(fmt.Sprint(reasons...), "code:paused") || st["alarm"] != false {
		t.Errorf("why it does not move: %v", st)
	}
	r.call(http.StatusOK, http.MethodPut, path+"/resume", "")
	ask := r.call(http.StatusConflict, http.MethodDelete, path, "")
	if ask["undelivered"] != 1.0 || ask["confirm"] != "third" {
		t.Errorf("before it is deleted: %v", ask)
	}
	r.call(http.StatusOK, http.MethodDelete, path+"?confirm=third", "")
	r.call(http.StatusGone, http.MethodPost, path+"/updates", update("k", "2", "x"))
	r.call(http.StatusOK, http.MethodPut, path+"/restore", "")
	r.call(http.StatusOK, http.MethodGet, "/v1/channels", "")

	records, err := auditlog.Open(r.client.JS, r.client.Names).Read(t.Context(), time.Time{})
	r.must(err)
	// The rig's own channels were applied by command.
	records = slices.DeleteFunc(records, func(r auditlog.Record) bool { return r.Target != "channel third" })
	var acts []string
	for _, rec := range records {
		acts = append(acts, rec.Action+" "+rec.Result)
		if rec.Actor != "local" || rec.From == "" || rec.Target != "channel third" {
			t.Errorf("record %+v", rec)
		}
	}
	want := "channel.put done, channel.put done, channel.pause done, channel.resume done, channel.delete done, channel.restore done"
	if got := strings.Join(acts, ", "); got != want {
		t.Errorf("audit log: %s", got)
	}
	if !strings.Contains(string(records[1].Before), `"name":"third"`) || !strings.Contains(string(records[1].After), `"rate":5`) {
		t.Errorf("before %s, after %s", records[1].Before, records[1].After)
	}
}

func TestConnectorKinds(t *testing.T) {
	r := newRig(t).serve()
	out := r.call(http.StatusOK, http.MethodGet, "/v1/connector-kinds", "")
	listed, _ := out["kinds"].([]any)
	catalog, found := kinds.All(), map[string]bool{}
	for _, k := range listed {
		m, _ := k.(map[string]any)
		name, _ := m["name"].(string)
		kind, err := catalog.Kind(name)
		r.must(err)
		if can := kind.Capabilities; at(m, "capabilities", "guard") != string(can.Guard) || at(m, "capabilities", "reads") != can.Reads {
			t.Errorf("%s: %v", name, m["capabilities"])
		}
		found[name] = at(m, "schema", "properties", "url") != nil || at(m, "schema", "properties", "dsn") != nil
	}
	if !found["http"] || !found["sql"] || len(found) != len(catalog.Names()) {
		t.Errorf("kinds: %v", out)
	}
	api := r.call(http.StatusOK, http.MethodGet, "/openapi.json", "")
	body := at(api, "paths", "/v1/channels/{channel}", "put", "requestBody", "content", "application/json", "schema")
	if at(body, "type") != "object" || at(body, "properties", "retry", "properties", "max_attempts", "default") != 20.0 || at(body, "properties", "connector", "allOf") == nil {
		t.Errorf("what PUT takes: %v", body)
	}
	r.call(http.StatusOK, http.MethodGet, "/docs", "")
}

func TestDeadLettersOverHTTP(t *testing.T) {
	r := newRig(t).serve().work()
	r.target.fail.Store(http.StatusUnprocessableEntity)
	for _, key := range []string{"a", "b", "c"} {
		out := r.call(http.StatusOK, http.MethodPost, updates+"?wait=20s", update(key, "1", "x"))
		if at(out, "ack", "outcome") != "dead_lettered" {
			t.Fatalf("ack: %v", out)
		}
	}
	r.eventually("the letters", func() bool {
		page := r.call(http.StatusOK, http.MethodGet, "/v1/dead-letters?channel=erp", "")
		list, _ := page["letters"].([]any)
		return len(list) == 3
	})
	failing := r.call(http.StatusOK, http.MethodGet, "/v1/channels/erp/entities?health=retrying,parked,dead", "")
	if list, _ := failing["entities"].([]any); len(list) != 3 {
		t.Errorf("failing: %v", failing)
	}
	one := r.call(http.StatusOK, http.MethodGet, "/v1/dead-letters/1", "")
	if one["payload"] != nil || one["header"] != nil || one["code"] != "422" {
		t.Errorf("letter: %v", one)
	}
	if one = r.call(http.StatusOK, http.MethodGet, "/v1/dead-letters/1/payload", ""); at(one, "payload", "content") != "x" {
		t.Errorf("letter with its content: %v", one)
	}
	groups := r.call(http.StatusOK, http.MethodGet, "/v1/dead-letters/groups?channel=erp&prefix=a", "")
	if list, _ := groups["groups"].([]any); len(list) != 1 || at(list[0], "count") != 1.0 || at(list[0], "code") != "422" {
		t.Errorf("groups: %v", groups)
	}
	r.target.fail.Store(0)
	if done := r.call(http.StatusOK, http.MethodPost, "/v1/dead-letters/1/replay", ""); done["outcome"] != "delivered" {
		t.Errorf("replayed: %v", done)
	}
	if gone := r.call(http.StatusOK, http.MethodDelete, "/v1/dead-letters/2", ""); gone["discarded"] != true {
		t.Errorf("discarded: %v", gone)
	}
	r.call(http.StatusNotFound, http.MethodGet, "/v1/dead-letters/99", "")
	r.eventually("the replayed letter to go", func() bool {
		page := r.call(http.StatusOK, http.MethodGet, "/v1/dead-letters", "")
		list, _ := page["letters"].([]any)
		return len(list) == 1
	})
	const letters = `,"letters":{"channel":"erp"}`
	planned := r.call(http.StatusOK, http.MethodPost, "/v1/jobs", `{"action":"replay","dry_run":true`+letters+`}`)
	if at(planned, "plan", "total") != 1.0 || planned["job"] != nil {
		t.Errorf("plan: %v", planned)
	}
	job := r.job(`{"action":"replay","reason":"mended"` + letters + `}`)
	if job["state"] != "done" || at(job, "outcomes", "delivered") != 1.0 || job["total"] != 1.0 || job["reason"] != "mended" {
		t.Errorf("replayed: %v", job)
	}
	list := r.call(http.StatusOK, http.MethodGet, "/v1/jobs", "")
	if of, _ := list["jobs"].([]any); len(of) != 1 || at(of[0], "id") != job["id"] {
		t.Errorf("jobs: %v", list)
	}
	id, _ := job["id"].(string)
	r.call(http.StatusConflict, http.MethodPut, "/v1/jobs/"+id+"/stop", "")
	for _, bad := range []string{
		`{}`, `{"action":"discard"` + letters + `}`, `{"action":"replay"}`, `{"action":"resync"` + letters + `}`, `{"action":"replay","colour":1` + letters + `}`,
		`{"action":"resync","entities":{"channel":"erp","health":["ill"]}}`, `{"action":"resync","entities":{"channel":"erp","keys":["a"],"prefix":"b"}}`,
		`{"action":"replay","letters":{"group":"x"}}`, `{"action":"resync","entities":{"channel":"erp","older_than":"soon"}}`,
	} {
		r.call(http.StatusUnprocessableEntity, http.MethodPost, "/v1/jobs", bad)
	}
	r.call(http.StatusNotFound, http.MethodPost, "/v1/jobs", `{"action":"replay","letters":{"channel":"nowhere"}}`)
}

// job starts a job and waits for its end.
func (r *rig) job(body string) map[string]any {
	r.t.Helper()
	started, _ := r.call(http.StatusAccepted, http.MethodPost, "/v1/jobs", body)["job"].(map[string]any)
	id, _ := started["id"].(string)
	var job map[string]any
	r.eventually("the job to end", func() bool {
		job = r.call(http.StatusOK, http.MethodGet, "/v1/jobs/"+id, "")
		return job["state"] != "running" && job["state"] != "stopping"
	})
	return job
}

func TestResyncJobOverHTTP(t *testing.T) {
	r := newRig(t).serve().work()
	for _, key := range []string{"a1", "a2", "b1"} {
		r.call(http.StatusOK, http.MethodPost, updates+"?wait=20s", update(key, "1", "x"))
	}
	// The first one selects by what the ledger says, and no key that is delivered meanwhile.
	for _, test := range []struct {
		want     float64
		entities string
	}{
		{3, `{"channel":"erp","sync":["in_sync"]}`},
		{0, `{"channel":"erp","sync":["in_sync"],"older_than":"7d"}`},
		{2, `{"channel":"erp","prefix":"a"}`},
		{1, `{"channel":"erp","keys":["b1"]}`},
	} {
		want, entities := test.want, test.entities
		calls := r.target.calls.Load()
		var planned map[string]any
		r.eventually("the ledger to know "+entities, func() bool {
			planned = r.call(http.StatusOK, http.MethodPost, "/v1/jobs", `{"action":"resync","dry_run":true,"entities":`+entities+`}`)
			return at(planned, "plan", "total") == want
		})
		job := r.job(`{"action":"resync","entities":` + entities + `}`)
		if done, _ := at(job, "outcomes", "delivered").(float64); job["state"] != "done" || done != want || job["done"] != want || float64(r.target.calls.Load()-calls) != want {
			t.Errorf("%s: %v, %d calls", entities, job, r.target.calls.Load()-calls)
		}
	}
}

func TestResyncOverHTTP(t *testing.T) {
	r := newRig(t).serve().work()
	const path = "/v1/channels/erp/resync"
	r.call(http.StatusOK, http.MethodPost, updates+"?wait=20s", update("k", "1", "x"))
	r.call(http.StatusNotFound, http.MethodGet, path, "")
	r.call(http.StatusUnprocessableEntity, http.MethodPost, path, `{"colour":1}`)
	calls := r.target.calls.Load()
	if out := r.call(http.StatusAccepted, http.MethodPost, path, `{"keys":["k"]}`); out["total"] != 1.0 {
		t.Errorf("started: %v", out)
	}
	r.eventually("the resync to end", func() bool {
		return r.call(http.StatusOK, http.MethodGet, path, "")["state"] == "done"
	})
	if r.target.calls.Load() == calls {
		t.Error("nothing was delivered again")
	}
	r.call(http.StatusNotFound, http.MethodPut, path+"/pause", "")
}

func TestTryASampleUpdateOverHTTP(t *testing.T) {
	r := newRig(t).serve()
	const path = "/v1/channels/tried"
	r.call(http.StatusCreated, http.MethodPut, path, r.config("tried", func(m map[string]any) {
		m["filter"], m["mapping"] = `.status == "active"`, `{state: .status, version: $version}`
		config := m["connector"].(map[string]any)["config"].(map[string]any)
		config["auth"] = map[string]any{"bearer": "${env:NOT_ON_THIS_MACHINE}"}
		config["signing"] = map[string]any{"secrets": []string{"${env:NOT_ON_THIS_MACHINE}"}}
		config["tls"] = map[string]any{"ca": "${file:/not/on/this/machine}"}
	}), "If-None-Match", "*")
	sample := func(payload string) string { return `{"key":"k","version":7,"payload":` + payload + `}` }
	sent := r.call(http.StatusOK, http.MethodPost, path+"/test", sample(`{"status":"active"}`))
	if sent["decision"] != "send" || !strings.Contains(sent["payload"].(string), `"state":"active"`) || sent["preview"] == nil || sent["result"] != nil {
		t.Errorf("a sample that passes: %v", sent)
	}
	if kept := r.call(http.StatusOK, http.MethodPost, path+"/test", sample(`{"status":"closed"}`)); kept["decision"] != "filtered" {
		t.Errorf("a sample that the filter keeps: %v", kept)
	}
	if bad := r.call(http.StatusOK, http.MethodPost, path+"/test", sample(`[1]`)); bad["decision"] != "failed" || bad["error"] == nil {
		t.Errorf("a sample that the filter cannot read: %v", bad)
	}
	r.call(http.StatusUnprocessableEntity, http.MethodPost, path+"/test", `{"version":7}`)
	r.call(http.StatusCreated, http.MethodPut, "/v1/channels/stored", r.config("stored", func(m map[string]any) {
		m["connector"] = map[string]any{"kind": "sql", "config": map[string]any{"dialect": "sqlite", "dsn": "/not/on/this/machine.db"}}
	}), "If-None-Match", "*")
	stored := r.call(http.StatusOK, http.MethodPost, "/v1/channels/stored/test", sample(`{}`))
	if statement, _ := at(stored, "preview", "statement").(string); !strings.Contains(statement, `"extsync_stored"`) {
		t.Errorf("a sample for a database: %v", stored)
	}
	r.call(http.StatusNotFound, http.MethodPost, "/v1/channels/nobody/test", sample(`{}`))
}
