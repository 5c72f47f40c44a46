package connhttp

import (
	"errors"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

const explained = `
url: https://example.org/?key=${env:NOT_READ}
answers:
  - {when: '.body.errors[0].code == "busy"', class: throttled, retry_after: .body.wait}
  - {when: '.body.list[]', class: ok}
  - {when: .status == 409, class: compare, version: .body.v}
`

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name, sample string
		want         connectors.Class
		decides      int // rule, -1 for none
	}{
		{"JSON", `{"status":200,"body":{"errors":[{"code":"busy"}],"wait":3}}`, connectors.Throttled, 0},
		{"a text as the body", `{"status":422,"body":"no"}`, connectors.Permanent, -1},
		{"no body", `{"status":409,"headers":{"ce-entityversion":"9"}}`, connectors.Conflict, 2},
		{"several headers", `{"status":429,"headers":{"Retry-After":["30"]}}`, connectors.Throttled, -1},
		{"printed", "HTTP/2 409 \r\ncontent-type: application/json\r\n\r\n{\"v\":8}\n", connectors.Stale, 2},
		{"printed with what came before", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"errors\":[{\"code\":\"busy\"}]}", connectors.Throttled, 0},
		{"printed, lines as in a file", "HTTP/1.1 409 Conflict\nContent-Encoding: gzip\n\n{\"v\":8}\n", connectors.Stale, 2},
		{"printed, no body", "HTTP/1.1 204 No Content\n\n", connectors.OK, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Kind().Explain(t.Context(), []byte(explained), testAttempt(), []byte(c.sample))
			if err != nil {
				t.Fatal(err)
			}
			if got.Result.Class != c.want {
				t.Errorf("%s (%v), want %s", got.Result.Class, got.Result.Err, c.want)
			}
			for i, look := range got.Rules {
				if look.Decides != (i == c.decides) || look.Decides && !look.Matches {
					t.Errorf("%+v", look)
				}
			}
			if got.Rules[1].Error == "" && c.decides != 0 && c.name == "no body" {
				t.Errorf("the failure is not shown: %+v", got.Rules[1])
			}
		})
	}
	for _, sample := range []string{"", "x", "{}", `{"status":20}`, `{"status":200,"x":1}`, "HTTP/1.1", "HTTP/1.1 x\n\n", "[]"} {
		if _, err := Kind().Explain(t.Context(), []byte(explained), testAttempt(), []byte(sample)); !errors.Is(err, errSample) {
			t.Errorf("%q: %v", sample, err)
		}
	}
}

// FuzzSample: no sample does more than to be refused.
func FuzzSample(f *testing.F) {
	f.Add([]byte(`{"status":200,"headers":{"a":[1]},"body":[]}`))
	f.Add([]byte("HTTP/1.1 200 OK\nA: b\n\nHTTP/x"))
	f.Fuzz(func(t *testing.T, sample []byte) {
		r, err := sampleReply(sample)
		if err == nil && (r.status < 100 || r.status > 999) {
			t.Errorf("status %d", r.status)
		}
	})
}
