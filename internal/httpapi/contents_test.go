package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/wire"
)

// hostile is a text, as JSON has it, that a page must not take for anything else.
const hostile = `"<script>alert(1)</script>\u202e\u0000"`

// acts returns the results in the audit log of an action on a key.
func (r *rig) acts(action, key string) (results []string) {
	r.t.Helper()
	records, err := auditlog.Open(r.client.JS, r.client.Names).Read(r.t.Context(), time.Time{})
	r.must(err)
	for _, rec := range records {
		var of struct{ Key string }
		if rec.Action == action && json.Unmarshal(rec.After, &of) == nil && of.Key == key {
			results = append(results, rec.Target+" "+rec.Result)
		}
	}
	return results
}

func TestPayloadOfAKey(t *testing.T) {
	r := newRig(t).serve()
	body := func(version, payload string) string {
		return `{"key":"k/1","version":` + version + `,"payload":` + payload + `}`
	}
	const path = "/v1/channels/erp/entities/k%2F1/payload"
	r.call(http.StatusNotFound, http.MethodGet, path, "")
	r.call(http.StatusAccepted, http.MethodPost, updates, body("9007199254740993", `{"b":1.10,"a":`+hostile+`}`))
	resp, text := r.do(r.request(http.MethodGet, path, ""))
	if !strings.Contains(text, `"payload":{"b":1.10,"a":`+hostile+`}`) || !strings.Contains(text, `"version":"9007199254740993"`) || strings.Contains(resp.Header.Get("Content-Type"), "html") {
		t.Errorf("%s: %s", resp.Header.Get("Content-Type"), text)
	}
	if got := r.acts("payload.read", "k/1"); !slices.Equal(got, []string{"channel erp done"}) {
		t.Errorf("audit log: %v", got)
	}
	r.call(http.StatusNotFound, http.MethodGet, "/v1/channels/nowhere/entities/k/payload", "")

	// Bytes that are no JSON come as such, and a content that no answer holds comes in part.
	plain := r.request(http.MethodPost, "/v1/channels/erp/updates", "\xff\x00", "Content-Type", "application/octet-stream",
		"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/x", "ce-type", "x", "ce-subject", "bytes", "ce-entityversion", "1")
	if resp, text := r.do(plain); resp.StatusCode != http.StatusAccepted {
		t.Fatal(text)
	}
	out := r.call(http.StatusOK, http.MethodGet, "/v1/channels/erp/entities/bytes/payload", "")
	if raw, err := base64.StdEncoding.DecodeString(out["payload_base64"].(string)); err != nil || string(raw) != "\xff\x00" || out["payload"] != nil {
		t.Errorf("bytes: %v", out)
	}
	large := strings.Repeat("x", 900<<10)
	r.call(http.StatusAccepted, http.MethodPost, updates, `{"key":"large","version":1,"payload":{"small":1,"large":"`+large+`"}}`)
	out = r.call(http.StatusOK, http.MethodGet, "/v1/channels/erp/entities/large/payload", "")
	if shown, _ := at(out, "payload", "large").(string); out["clipped"] != true || at(out, "payload", "small") != 1.0 || len(shown) < 1000 || len(shown) > 600<<10 {
		t.Errorf("a large one: clipped %v, %d bytes", out["clipped"], len(shown))
	}
}

// Nobody sees contents without a record of it: where the audit log takes none, nothing is shown.
func TestPayloadIsNotShownWithoutARecord(t *testing.T) {
	r := newRig(t).serve()
	r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "1", "secret"))
	r.must(r.client.JS.DeleteStream(t.Context(), wire.AuditStream(r.client.Names)))
	resp, text := r.do(r.request(http.MethodGet, "/v1/channels/erp/entities/k/payload", ""))
	if resp.StatusCode < 500 || strings.Contains(text, "secret") {
		t.Errorf("%s: %s", resp.Status, text)
	}
}

func TestResetAndGiveUpOverHTTP(t *testing.T) {
	r := newRig(t).serve()
	const key = "/v1/channels/erp/entities/k"
	r.call(http.StatusNotFound, http.MethodPost, key+"/reset", "")
	r.call(http.StatusNotFound, http.MethodPost, key+"/give-up", "")
	r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "7", "x"))
	for _, path := range []string{key + "/reset?confirm=k", key + "/give-up"} {
		if out := r.call(http.StatusServiceUnavailable, http.MethodPost, path, ""); out["reason"] != "no_worker" {
			t.Errorf("%s without a worker: %v", path, out)
		}
	}
	r.target.fail.Store(http.StatusServiceUnavailable)
	r.work()
	r.eventually("an attempt to fail", func() bool { return r.target.calls.Load() > 0 })
	r.eventually("the update to be given up", func() bool {
		resp, text := r.do(r.request(http.MethodPost, key+"/give-up", ""))
		return resp.StatusCode == http.StatusOK && strings.Contains(text, `"outcome":"dead_lettered"`)
	})
	if out := r.call(http.StatusConflict, http.MethodPost, key+"/give-up", ""); out["reason"] != "not_given_up" {
		t.Errorf("nothing is pending: %v", out)
	}
	if got := r.acts("key.give_up", "k"); !slices.Contains(got, "channel erp failed") {
		t.Errorf("audit log: %v", got)
	}

	for _, confirm := range []string{"", "?confirm=", "?confirm=K"} {
		if out := r.call(http.StatusConflict, http.MethodPost, key+"/reset"+confirm, ""); out["reason"] != "confirm" || out["confirm"] != "k" {
			t.Errorf("%q: %v", confirm, out)
		}
	}
	out := r.call(http.StatusOK, http.MethodPost, key+"/reset?confirm=k", "")
	if at(out, "was", "newest", "version") != "7" {
		t.Errorf("reset: %v", out)
	}
	if got := r.acts("key.reset", "k"); !slices.Contains(got, "channel erp done") {
		t.Errorf("audit log: %v", got)
	}
	r.target.fail.Store(0)
	if out := r.call(http.StatusOK, http.MethodPost, updates+"?wait=20s", update("k", "1", "y")); at(out, "ack", "outcome") != "delivered" {
		t.Errorf("version 1 after the reset: %v", out)
	}
}
