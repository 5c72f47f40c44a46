package httpapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/pkg/channels"
)

const policies = "/v1/topics/policies"

// topics makes the topic policies, which the channels crm (all keys) and web (keys that begin
// with p-) read. The target of web is returned.
func (r *rig) topics() *target {
	r.t.Helper()
	web := newTarget(r.t)
	reader := func(name, keys, url string) channels.Config {
		c := r.channel(name)
		c.From = &channels.From{Topic: "policies", Keys: keys}
		c.Connector.Config = channels.NewRaw(map[string]any{"url": url, "allow_cidrs": []string{"127.0.0.0/8"}})
		return c
	}
	_, err := r.client.Apply(r.t.Context(), channels.File{
		Topics:   []channels.Topic{{Name: "policies", MaxBytes: 4 << 20}},
		Channels: []channels.Config{reader("crm", "", r.target.URL), reader("web", "p-", web.URL)},
	}, false)
	r.must(err)
	return web
}

// outcomes returns what an answer says of each channel: its outcome, or "open".
func outcomes(doc map[string]any) string {
	out := []string{fmt.Sprint(doc["outcome"])}
	list, _ := doc["channels"].([]any)
	for _, one := range list {
		outcome := at(one, "ack", "outcome")
		if outcome == nil {
			outcome = "open"
		}
		out = append(out, fmt.Sprint(at(one, "channel"), "=", outcome))
	}
	return strings.Join(out, " ")
}

func (r *rig) says(doc map[string]any, want string) {
	r.t.Helper()
	if got := outcomes(doc); got != want {
		r.t.Errorf("it says %q, want %q: %v", got, want, doc)
	}
}

func (r *rig) refused(reason string, doc map[string]any) map[string]any {
	r.t.Helper()
	if doc["reason"] != reason {
		r.t.Errorf("the reason is %v, want %s: %v", doc["reason"], reason, doc)
	}
	return doc
}

func TestTopicsOverHTTP(t *testing.T) {
	r := newRig(t).serve()
	const body = `{"description":"all","max_bytes":"2MiB"}`
	r.refused("precondition", r.call(http.StatusPreconditionRequired, http.MethodPut, policies, body))
	if dry := r.call(http.StatusOK, http.MethodPut, policies+"?dry_run=true", body); dry["change"] != "created" || dry["revision"] != nil {
		t.Errorf("dry run: %v", dry)
	}
	r.refused("unknown_topic", r.call(http.StatusNotFound, http.MethodGet, policies, ""))
	r.refused("changed_meanwhile", r.call(http.StatusPreconditionFailed, http.MethodPut, policies, body, "If-Match", "*"))
	made, _ := r.do(r.request(http.MethodPut, policies, body, "If-None-Match", "*"))
	if made.StatusCode != http.StatusCreated {
		t.Fatal(made.Status)
	}
	r.refused("exists", r.call(http.StatusPreconditionFailed, http.MethodPut, policies, body, "If-None-Match", "*"))
	shown, _ := r.do(r.request(http.MethodGet, policies, ""))
	tag := shown.Header.Get("ETag")
	if tag == "" || tag != made.Header.Get("ETag") {
		t.Errorf("GET says ETag %s, PUT said %s", tag, made.Header.Get("ETag"))
	}
	if same := r.call(http.StatusOK, http.MethodPut, policies, body, "If-Match", tag); same["change"] != "unchanged" {
		t.Errorf("the same again: %v", same)
	}
	if more := r.call(http.StatusOK, http.MethodPut, policies, `{"max_bytes":"4MiB","quota":{"rate":100}}`, "If-Match", tag); more["change"] != "changed" {
		t.Errorf("another size: %v", more)
	}
	r.refused("changed_meanwhile", r.call(http.StatusPreconditionFailed, http.MethodPut, policies, body, "If-Match", tag))
	if now := r.call(http.StatusOK, http.MethodGet, policies, ""); at(now, "config", "quota", "rate") != 100.0 || at(now, "config", "max_bytes") != "4MiB" {
		t.Errorf("after the change: %v", now)
	}
	for bad, where := range map[string]string{
		`{"max_byte":"2MiB"}`: "body.max_byte", `{"max_bytes":1}`: "body.max_bytes", `{"name":"other"}`: "body.name", "max_bytes: 2MiB": "body",
	} {
		p := r.refused("invalid", r.call(http.StatusUnprocessableEntity, http.MethodPut, policies, bad, "If-Match", "*"))
		if list, _ := p["errors"].([]any); len(list) != 1 || at(list[0], "location") != where {
			t.Errorf("%s: %v", bad, p)
		}
	}

	// A channel reads it.
	reads := r.config("crm", func(m map[string]any) { m["from"] = map[string]any{"topic": "policies"} })
	r.call(http.StatusCreated, http.MethodPut, "/v1/channels/crm", reads, "If-None-Match", "*")
	list := r.call(http.StatusOK, http.MethodGet, "/v1/topics", "")
	if topics, _ := list["topics"].([]any); len(topics) != 1 || fmt.Sprint(at(topics[0], "channels")) != "[crm]" {
		t.Errorf("the list: %v", list)
	}
	r.refused("reads_topic", r.call(http.StatusConflict, http.MethodPost, "/v1/channels/crm/updates", update("k", "1", "x")))
	elsewhere := r.config("crm", func(m map[string]any) { m["from"] = map[string]any{"topic": "nosuch"} })
	r.call(http.StatusUnprocessableEntity, http.MethodPut, "/v1/channels/crm", elsewhere, "If-Match", "*")
	r.refused("topic_read", r.call(http.StatusConflict, http.MethodDelete, policies+"?confirm=policies", ""))

	// Another one is deleted.
	r.call(http.StatusCreated, http.MethodPut, "/v1/topics/other", `{}`, "If-None-Match", "*")
	r.call(http.StatusAccepted, http.MethodPost, "/v1/topics/other/updates", update("k", "1", "x"))
	if p := r.refused("confirm", r.call(http.StatusConflict, http.MethodDelete, "/v1/topics/other", "")); p["confirm"] != "other" || !strings.Contains(fmt.Sprint(p["detail"]), "holds 1 keys") {
		t.Errorf("unconfirmed: %v", p)
	}
	r.call(http.StatusPreconditionFailed, http.MethodDelete, "/v1/topics/other?confirm=other", "", "If-Match", `"1"`)
	if gone := r.call(http.StatusOK, http.MethodDelete, "/v1/topics/other?confirm=other", ""); gone["name"] != "other" || gone["keys"] != 1.0 {
		t.Errorf("deleted: %v", gone)
	}
	for method, path := range map[string]string{
		http.MethodGet: "/v1/topics/other", http.MethodPost: "/v1/topics/other/updates", http.MethodDelete: "/v1/topics/other?confirm=other",
	} {
		r.refused("unknown_topic", r.call(http.StatusNotFound, method, path, update("k", "2", "x")))
	}
	r.refused("unknown_topic", r.call(http.StatusNotFound, http.MethodPost, "/v1/topics/other/updates?wait=1s", update("k", "2", "x")))
	records, err := auditlog.Open(r.client.JS, r.client.Names).Read(t.Context(), time.Time{})
	r.must(err)
	for _, action := range []string{"topic.put", "topic.delete"} {
		if !slices.ContainsFunc(records, func(a auditlog.Record) bool { return a.Action == action && a.Target == "topic other" }) {
			t.Errorf("the audit log has no %s", action)
		}
	}
}

func TestPublishToTopic(t *testing.T) {
	r := newRig(t)
	web := r.topics()
	r.serve().work()
	post := func(status int, query, body string, headers ...string) map[string]any {
		t.Helper()
		return r.call(status, http.MethodPost, policies+"/updates"+query, body, headers...)
	}
	outcome := func(query string) map[string]any {
		t.Helper()
		return r.call(http.StatusOK, http.MethodGet, policies+"/entities/"+query, "")
	}
	doc := post(http.StatusOK, "?wait=20s", update("p-1", "7", "x"))
	r.says(doc, "delivered crm=delivered web=delivered")
	if at(doc, "receipt", "topic") != "policies" || at(doc, "receipt", "version") != "7" {
		t.Errorf("receipt: %v", doc)
	}
	r.says(post(http.StatusOK, "?wait=20s", update("q-1", "1", "x")), "delivered crm=delivered")
	if again := post(http.StatusAccepted, "", update("p-1", "7", "x")); at(again, "receipt", "duplicate") != true || again["outcome"] != nil {
		t.Errorf("repetition: %v", again)
	}
	if stale := r.refused("stale", post(http.StatusConflict, "", update("p-1", "6", "x"))); stale["topic"] != "policies" || at(stale, "head", "version") != "7" {
		t.Errorf("stale: %v", stale)
	}
	r.refused("conflict", post(http.StatusConflict, "?wait=1s", update("p-1", "7", "y")))
	r.call(http.StatusUnprocessableEntity, http.MethodPost, policies+"/updates", `{"channel":"crm","key":"k","version":1,"payload":1}`)
	binary := []string{"Content-Type", "application/xml", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t", "ce-subject", "a%20b", "ce-entityversion", "3"}
	resp, _ := r.do(r.request(http.MethodPost, policies+"/updates", "<x/>", binary...))
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Location") != policies+"/entities/a%20b" {
		t.Errorf("CloudEvent: %s, see %s", resp.Status, resp.Header.Get("Location"))
	}
	r.says(outcome("a%20b/outcome?version=3"), "delivered crm=delivered")
	if got := r.call(http.StatusOK, http.MethodGet, resp.Header.Get("Location"), ""); at(got, "newest", "version") != "3" {
		t.Errorf("what the topic holds: %v", got)
	}
	r.refused("unknown_key", r.call(http.StatusNotFound, http.MethodGet, policies+"/entities/nobody", ""))
	if all := r.call(http.StatusOK, http.MethodGet, "/v1/entities/p-1", ""); !strings.Contains(fmt.Sprint(all["topics"]), "policies") {
		t.Errorf("everywhere: %v", all)
	}

	// One target answers later than the other.
	release := web.hold()
	defer release()
	key := []string{"Idempotency-Key", "one"}
	first := post(http.StatusAccepted, "", update("p-2", "1", "x"), key...)
	r.eventually("the outcome in one of the channels", func() bool {
		return outcomes(post(http.StatusAccepted, "?wait=300ms", update("p-2", "1", "x"))) == "partial crm=delivered web=open"
	})
	r.says(outcome("p-2/outcome?version=1&timeout=300ms"), "partial crm=delivered web=open")
	release()
	again := r.request(http.MethodPost, policies+"/updates?wait=20s", update("p-2", "1", "x"), key...)
	if resp, _ := r.do(again); resp.StatusCode != http.StatusOK || resp.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("repeated to wait: %s, replayed %q", resp.Status, resp.Header.Get("Idempotency-Replayed"))
	}
	if repeated := post(http.StatusAccepted, "", update("p-2", "1", "x"), key...); fmt.Sprint(first) != fmt.Sprint(repeated) {
		t.Errorf("the repetition has another answer: %v, then %v", first, repeated)
	}
	r.refused("idempotency_key", post(http.StatusUnprocessableEntity, "", update("p-2", "2", "x"), key...))
	waited := []string{"Idempotency-Key", "two"}
	second := post(http.StatusOK, "?wait=20s", update("p-3", "1", "x"), waited...)
	post(http.StatusOK, "?wait=20s", update("p-3", "2", "x"))
	if repeated := post(http.StatusOK, "?wait=20s", update("p-3", "1", "x"), waited...); fmt.Sprint(second) != fmt.Sprint(repeated) {
		t.Errorf("the repetition has another answer: %v, then %v", second, repeated)
	}

	// One refuses, then both.
	web.fail.Store(http.StatusBadRequest)
	r.says(post(http.StatusOK, "?wait=20s", update("p-4", "1", "x")), "partial crm=delivered web=dead_lettered")
	r.target.fail.Store(http.StatusBadRequest)
	r.says(post(http.StatusOK, "?wait=20s", update("p-5", "1", "x")), "failed crm=dead_lettered web=dead_lettered")
	r.says(outcome("p-5/outcome?version=1"), "failed crm=dead_lettered web=dead_lettered")
}

// A topic without readers takes what is published: a channel may come later.
func TestPublishToTopicThatNobodyReads(t *testing.T) {
	r := newRig(t)
	_, err := r.client.Apply(t.Context(), channels.File{Topics: []channels.Topic{
		{Name: "quiet", MaxBytes: 1 << 20, Quota: channels.TopicQuota{MaxPayload: 1 << 10}}, {Name: "slow", MaxBytes: 1 << 20, Quota: channels.TopicQuota{Rate: 0.01}},
	}}, false)
	r.must(err)
	r.serve()
	r.says(r.call(http.StatusOK, http.MethodPost, "/v1/topics/quiet/updates?wait=20s", update("k", "1", "x")), "unread")
	if p := r.refused("quota_payload", r.call(http.StatusRequestEntityTooLarge, http.MethodPost, "/v1/topics/quiet/updates", update("k", "2", strings.Repeat("x", 2<<10)))); p["topic"] != "quiet" {
		t.Errorf("too large: %v", p)
	}
	r.call(http.StatusAccepted, http.MethodPost, "/v1/topics/slow/updates", update("k", "1", "x"))
	if p := r.refused("quota_rate", r.call(http.StatusTooManyRequests, http.MethodPost, "/v1/topics/slow/updates", update("k", "2", "x"))); p["topic"] != "slow" {
		t.Errorf("over the rate: %v", p)
	}
	_, text := r.batchTo("/v1/topics/quiet/updates", update("a", "1", "x")+"\n"+update("k", "1", "y")+"\n{}\n"+update("b", "1", strings.Repeat("x", 2<<10)))
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, want := range []string{`"see":"/v1/topics/quiet/entities/a"`, `"conflict"`, `"invalid"`, `"quota_payload"`} {
		if len(lines) != 4 || !strings.Contains(lines[i], want) || !strings.Contains(lines[i], fmt.Sprintf(`"line":%d`, i+1)) {
			t.Errorf("line %d: want %s in\n%s", i+1, want, text)
		}
	}
}
