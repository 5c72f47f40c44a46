package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// Keys that are not UTF-8 were merged: pat-\xff and pat-\xfe became one. A payload
// that is not UTF-8 passed as JSON, and targets stored something else.
func TestTextThatIsNotUTF8IsRefused(t *testing.T) {
	r := newRig(t).serve()
	const cloudEvent = `{"specversion":"1.0","id":"1","source":"/s","type":"t","entityversion":1,`
	binary := []string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t", "ce-subject", "k", "ce-entityversion", "3"}
	with := func(headers []string, more ...string) []string {
		return append(headers[:len(headers):len(headers)], more...)
	}
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
	}{
		{"key", "{\"key\":\"pat-\xff\",\"version\":1,\"payload\":1}", nil, 422},
		{"key, half a pair", `{"key":"pat-\ud800","version":1,"payload":1}`, nil, 422},
		{"name", "{\"key\xff\":\"k\",\"key\":\"k\",\"version\":1,\"payload\":1}", nil, 422},
		{"payload", "{\"key\":\"k\",\"version\":1,\"payload\":\"\xff\"}", nil, 422},
		{"payload, half a pair", `{"key":"k","version":1,"payload":"\udc00"}`, nil, 422},
		{"base64 that is to be JSON", `{"key":"k","version":1,"payload_base64":"Iv8i"}`, nil, 422},
		{"base64 of another type", `{"key":"k","version":1,"payload_base64":"Iv8i","content_type":"image/png"}`, nil, 202},
		{"structured key", cloudEvent + "\"subject\":\"pat-\xff\",\"data\":1}", []string{"Content-Type", "application/cloudevents+json"}, 422},
		{"structured data", cloudEvent + "\"subject\":\"k\",\"data\":\"\xff\"}", []string{"Content-Type", "application/cloudevents+json"}, 422},
		{"structured data that is text", cloudEvent + "\"subject\":\"k\",\"datacontenttype\":\"text/plain\",\"data\":\"\xff\"}", []string{"Content-Type", "application/cloudevents+json"}, 422},
		{"binary key", "1", with(binary, "ce-subject", "pat-\xff"), 422},
		{"binary key, percent-encoded", "1", with(binary, "ce-subject", "pat-%FF"), 422},
		{"binary payload", "\"\xff\"", binary, 422},
		{"binary payload of another type", "\xff", with(binary, "Content-Type", "application/octet-stream"), 202},
	} {
		resp, data := r.do(r.request(http.MethodPost, updates, c.body, c.headers...))
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s\n%s", c.name, resp.Status, data)
		}
	}
	r.call(http.StatusUnprocessableEntity, http.MethodPost, "/v1/updates", "{\"channels\":[\"erp\"],\"key\":\"pat-\xff\",\"version\":1,\"payload\":1}")
	r.call(http.StatusUnprocessableEntity, http.MethodPost, "/v1/channels/erp/resync", "{\"keys\":[\"pat-\xff\"]}")

	lines := "{\"key\":\"a\",\"version\":1,\"payload\":1}\n{\"key\":\"pat-\xff\",\"version\":1,\"payload\":1}\n{\"key\":\"pat-\xfe\",\"version\":1,\"payload\":1}\n"
	resp, data := r.batch(lines)
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	for i, line := range strings.Split(strings.TrimSpace(data), "\n") {
		var result struct{ Line, Status int }
		r.must(json.Unmarshal([]byte(line), &result))
		if want := []int{202, 422, 422}[i]; result.Line != i+1 || result.Status != want {
			t.Errorf("line %d of a batch: %s", i+1, line)
		}
	}
}
