package connhttp

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// throttledBody is a refusal in an answer that is a success by its status.
const throttledBody = `{"errors":[{"message":"slow down","extensions":{"code":"THROTTLED","wait":1.5}}]}`

func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", maxRuledBody)
	throttled := Answer{
		When: `.status == 200 and (.body.errors // [] | any(.extensions.code == "THROTTLED"))`, Class: "throttled",
		RetryAfter: ".body.errors[0].extensions.wait",
	}
	for _, c := range []struct {
		name   string
		rules  []Answer
		status int
		header http.Header
		body   string
		want   connectors.Class
		wait   time.Duration
		failed int // rules
	}{
		{name: "throttled in a success", rules: []Answer{throttled}, status: 200, body: throttledBody, want: connectors.Throttled, wait: 1500 * time.Millisecond},
		{name: "a success", rules: []Answer{throttled}, status: 200, body: `{"data":{}}`, want: connectors.OK},
		{name: "the table where no rule matches", rules: []Answer{throttled}, status: 422, want: connectors.Permanent},
		{name: "the first that matches", rules: []Answer{{When: "true", Class: "unready"}, {When: "true", Class: "ok"}}, status: 200, want: connectors.Unready},
		{name: "anything but false and null matches", rules: []Answer{{When: ".body.error", Class: "permanent"}}, status: 200, body: `{"error":"x"}`, want: connectors.Permanent},
		{name: "null does not match", rules: []Answer{{When: ".body.error", Class: "permanent"}}, status: 200, body: `{}`, want: connectors.OK},
		{name: "nothing does not match", rules: []Answer{{When: "empty", Class: "permanent"}}, status: 200, want: connectors.OK},
		{name: "a failure becomes a success", rules: []Answer{{When: ".status == 500", Class: "ok"}}, status: 500, want: connectors.OK},
		{name: "the text", rules: []Answer{{When: `.text | startswith("ERROR")`, Class: "permanent"}}, status: 200, body: "ERROR 7", want: connectors.Permanent},
		{name: "what is no JSON does not pass for delivered", rules: []Answer{{When: ".body.refused == true", Class: "permanent"}}, status: 200, body: `{"refused":true}x`, want: connectors.Transient},
		{name: "what is no JSON is null where it failed", rules: []Answer{{When: ".body == null", Class: "unready"}}, status: 400, body: "<html>", want: connectors.Unready},
		{name: "behind a byte order mark", rules: []Answer{{When: ".body.refused == true", Class: "permanent"}}, status: 200, body: "\ufeff" + `{"refused":true}`, want: connectors.Permanent},
		{name: "nothing is null", rules: []Answer{{When: `.body == null and .text == ""`, Class: "unready"}}, status: 204, want: connectors.Unready},
		{
			name: "headers in lower case, joined", rules: []Answer{{When: `.headers["x-state"] == "a, b"`, Class: "unready"}},
			status: 200, header: http.Header{"X-State": {"a", "b"}}, want: connectors.Unready,
		},
		{name: "op and attempt", rules: []Answer{{When: `.op == "upsert" and .attempt == 3`, Class: "permanent"}}, status: 200, want: connectors.Permanent},
		{name: "sees no environment", rules: []Answer{{When: "env != {} or $ENV != {}", Class: "permanent"}}, status: 200, want: connectors.OK},
		{
			name: "one that fails does not match", rules: []Answer{{When: ".body.errors[].code == 1", Class: "permanent"}, {When: ".status == 503", Class: "permanent"}},
			status: 503, body: `{}`, want: connectors.Permanent, failed: 1,
		},
		{name: "endless", rules: []Answer{{When: "last(range(1e18)) == 0", Class: "permanent"}}, status: 500, want: connectors.Transient, failed: 1},
		{name: "an error of its own", rules: []Answer{{When: `error("x")`, Class: "permanent"}}, status: 200, want: connectors.OK, failed: 1},
		{name: "header Retry-After", rules: []Answer{{When: "true", Class: "unready"}}, status: 200, header: http.Header{"Retry-After": {"3600"}}, want: connectors.Unready, wait: time.Hour},
		{
			name: "the rule before the header", rules: []Answer{{When: "true", Class: "transient", RetryAfter: "2m"}},
			status: 200, header: http.Header{"Retry-After": {"3600"}}, want: connectors.Transient, wait: 2 * time.Minute,
		},
		{
			name: "the header where the rule finds nothing", rules: []Answer{{When: "true", Class: "misconfigured", RetryAfter: ".body.wait"}},
			status: 200, header: http.Header{"Retry-After": {"3600"}}, want: connectors.Misconfigured, wait: time.Hour,
		},
		{name: "up to a day", rules: []Answer{{When: "true", Class: "throttled", RetryAfter: "100000"}}, status: 200, want: connectors.Throttled, wait: connectors.MaxRetryAfter},
		{name: "over 64 KiB", rules: []Answer{throttled}, status: 200, body: `{"pad":"` + long[:maxBody] + `",` + throttledBody[1:], want: connectors.Throttled, wait: 1500 * time.Millisecond},
		{name: "more than is read", rules: []Answer{throttled}, status: 200, body: `{"pad":"` + long + `",` + throttledBody[1:], want: connectors.Transient},
		{name: "more than is read of a failure", rules: []Answer{throttled}, status: 429, body: long, want: connectors.Throttled},
		{name: "more than is read, of no matter", rules: []Answer{{When: ".status == 200", Class: "unready"}}, status: 200, body: long, want: connectors.Unready},
		{name: "the beginning of a long text", rules: []Answer{{When: `.text | startswith("xx")`, Class: "unready"}}, status: 200, body: long, want: connectors.Unready},
		{name: "an unknown coding", rules: []Answer{throttled}, status: 200, header: http.Header{"Content-Encoding": {"br"}}, body: throttledBody, want: connectors.Transient},
		{name: "an unknown coding of a failure", rules: []Answer{throttled}, status: 422, header: http.Header{"Content-Encoding": {"br"}}, body: "x", want: connectors.Transient},
		{
			name: "an unknown coding, of no matter", rules: []Answer{{When: ".status == 200", Class: "ok"}, throttled},
			status: 200, header: http.Header{"Content-Encoding": {"br"}}, body: throttledBody, want: connectors.OK,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := openTo(t, Config{Answers: c.rules}, func(w http.ResponseWriter, _ *http.Request) {
				for name, values := range c.header {
					w.Header()[name] = values
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			got := applyOne(t, conn)
			code := fmt.Sprint(c.status)
			if got.Code == codeUnread {
				code = codeUnread
			}
			wantResult(t, got, c.want, code)
			if got.RetryAfter != c.wait || got.RuleErrors != c.failed {
				t.Errorf("waits %v, %d rules failed; want %v, %d", got.RetryAfter, got.RuleErrors, c.wait, c.failed)
			}
			if got.Err != nil && strings.ContainsAny(got.Err.Error(), "\r\n") {
				t.Errorf("more than one line: %q", got.Err)
			}
		})
	}
}

// TestRulesAreNamed: an error says which rule decided, and which could not.
func TestRulesAreNamed(t *testing.T) {
	rules := []Answer{{When: ".body.errors[].code == 1", Class: "ok"}, {When: ".status == 503", Class: "permanent"}}
	got := applyOne(t, openTo(t, Config{Answers: rules}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	for _, want := range []string{"answered 503", "answers[1] decides", "answers[0].when: ", "it fails"} {
		if got.Err == nil || !strings.Contains(got.Err.Error(), want) {
			t.Errorf("%q is missing: %v", want, got.Err)
		}
	}
}

// TestRulesAndDeletes: that nothing is there is what a delete asks for, unless a rule
// says otherwise of deletes.
func TestRulesAndDeletes(t *testing.T) {
	for when, want := range map[string]connectors.Class{
		".status == 404":                           connectors.OK,
		".status >= 400 and .status < 500":         connectors.OK,
		"true":                                     connectors.OK,
		`.op == "upsert" and .status == 404`:       connectors.OK,
		`.text | test("op") | not`:                 connectors.OK,
		`.op == "delete" and .status == 404`:       connectors.Transient,
		`.status == 404 and .op != "upsert"`:       connectors.Transient,
		`. as {$op, $status} | $op != "upsert"`:    connectors.Transient,
		`if .op == "delete" then 1 else error end`: connectors.Transient,
	} {
		for _, gone := range []int{http.StatusNotFound, http.StatusGone} {
			when := strings.ReplaceAll(when, "404", fmt.Sprint(gone))
			conn := openTo(t, ruled(when, "transient"), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(gone) })
			if got := apply(t, conn, testTombstone()); got.Class != want {
				t.Errorf("%s: %s (%v), want %s", when, got.Class, got.Err, want)
			}
		}
	}
	conn := openTo(t, ruled(".status == 500", "permanent"), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	wantResult(t, apply(t, conn, testTombstone()), connectors.Permanent, "500")
}

// TestReplacedFields: who writes a field that is no more is told the rules that say the
// same, and they do.
func TestReplacedFields(t *testing.T) {
	answered := func(status int, body string) *reply { return &reply{status: status, body: []byte(body)} }
	for _, c := range []struct {
		old   string
		given *reply
		want  connectors.Class
	}{
		{`statuses: {404: transient}`, answered(404, ""), connectors.Transient},
		{`statuses: {"404": transient, 4xx: misconfigured}`, answered(404, ""), connectors.Transient},
		{`statuses: {"404": transient, 4xx: misconfigured}`, answered(418, ""), connectors.Misconfigured},
		{`statuses: {5xx: permanent}`, answered(503, ""), connectors.Permanent},
		{`statuses: {422: conflict}`, answered(422, ""), connectors.Conflict},
		{`on_gone: pause`, answered(410, ""), connectors.Misconfigured},
		{`ack: {jq: .ok}`, answered(200, `{"ok":true}`), connectors.OK},
		{`ack: {jq: .ok}`, answered(200, `{"ok":false}`), connectors.Transient},
		{`ack: {jq: .ok}`, answered(200, `[]`), connectors.Transient},
		{`ack: {jq: empty, otherwise: permanent}`, answered(200, `{}`), connectors.Permanent},
		{`ack: {jq: '.s == "done"', otherwise: permanent}`, answered(200, `{}`), connectors.Permanent},
		{`ack: {jq: '.s == "it''s done"'}`, answered(200, `{"s":"it's done"}`), connectors.OK},
		{`ack: {jq: "(.errors == null) and (.data.userErrors == [])", otherwise: transient}`, answered(200, `{"data":{"userErrors":[]}}`), connectors.OK},
		{`ack: {jq: .ok}`, answered(500, `{"ok":true}`), connectors.Transient},
		{`held_version: .current.v`, answered(409, `{"current":{"v":8}}`), connectors.Stale},
		{`held_version: '.[0] | .v'`, answered(412, `[{"v":"9"}]`), connectors.Stale},
		{`held_version: .v`, answered(409, `{}`), connectors.Unready},
		{"held_version: .v\nstatuses: {422: conflict}\nack: {jq: .ok}\non_gone: pause", answered(200, `{}`), connectors.Transient},
	} {
		_, err := Decode([]byte("url: https://example.org/\n" + c.old))
		if err == nil || !strings.Contains(err.Error(), "answers: [") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c.old, err)
			continue
		}
		_, rules, _ := strings.Cut(err.Error(), "in their place write ")
		rules, _, _ = strings.Cut(rules, "; line ") // other problems follow
		config, err := Decode([]byte("url: https://example.org/\n" + rules))
		if err != nil {
			t.Errorf("%s: %s: %v", c.old, rules, err)
			continue
		}
		conn := openTest(t, config, deps{now: time.Now}).(*connector)
		a := testAttempt()
		if got := conn.judge(t.Context(), t.Context(), &a, conn.routeOf(&a), c.given); got.Class != c.want {
			t.Errorf("%s, %d %s: %s by %s, want %s", c.old, c.given.status, c.given.body, got.Class, rules, c.want)
		}
	}
	if _, err := Decode([]byte("url: https://example.org/\non_gone: dead_letter")); err == nil || !strings.Contains(err.Error(), "on_gone") {
		t.Errorf("got %v", err)
	}
}

// FuzzAnswers: whatever a target answers, and whatever the rules make of it, an attempt
// has one result that can be shown.
func FuzzAnswers(f *testing.F) {
	f.Add(".body.errors[0].code == 1", ".body.wait", 200, "X-A", "b", []byte(throttledBody), false)
	f.Add(".status == 404", `.headers["retry-after"]`, 404, "Retry-After", "99999999999", []byte("<html>"), true)
	f.Add(".body | tostring | length > 3", ".body", 409, "Content-Encoding", "gzip", []byte{0x1f, 0x8b, 8, 0}, false)
	f.Add(".", ".", 600, "Ce-Entityversion", "7", []byte(`{"v":1e999}`), false)
	f.Fuzz(func(t *testing.T, when, wait string, status int, name, value string, body []byte, remove bool) {
		for _, class := range []string{"throttled", "compare", "ok"} {
			rule := Answer{When: when, Class: class}
			switch class {
			case "throttled":
				rule.RetryAfter = wait
			case "compare":
				rule.Version, rule.Digest = wait, wait
			default:
				rule.Remember = map[string]string{"v": wait}
			}
			var p connectors.Problems
			rules := compileAnswers([]Answer{rule}, &p)
			if p.Err() != nil {
				return
			}
			c := &connector{opened: &opened{}, rules: rules, now: time.Now}
			a := testAttempt()
			if remove {
				a = testTombstone()
			}
			answer := &http.Response{StatusCode: status, Header: http.Header{name: {value}}, Body: io.NopCloser(strings.NewReader(string(body)))}
			got := c.judge(t.Context(), t.Context(), &a, c.routeOf(&a), readReply(answer, maxRuledBody))
			if (got.Class == connectors.OK) != (got.Err == nil) || got.Class > connectors.Unready || got.Code == "" {
				t.Errorf("class %s, code %q, error %v", got.Class, got.Code, got.Err)
			}
			if got.Remember != nil && (got.Class != connectors.OK || got.Remember.Check() != nil) {
				t.Errorf("class %s remembers %q", got.Class, got.Remember)
			}
			if got.RetryAfter < 0 || got.RetryAfter > connectors.MaxRetryAfter {
				t.Errorf("waits %v", got.RetryAfter)
			}
		}
	})
}

// TestRulesReadNothingElse: without rules an answer is not looked into.
func TestRulesReadNothingElse(t *testing.T) {
	c := openTest(t, Config{URL: "https://example.org/"}, deps{now: time.Now}).(*connector)
	a := testAttempt()
	if v := c.decide(t.Context(), &a, &reply{status: 200, body: []byte("{}")}); v.input != nil {
		t.Error("the answer was decoded")
	}
	if c.mostRead != maxBody {
		t.Errorf("%d bytes are read", c.mostRead)
	}
}
