package connhttp

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit/apis"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// TestForeignChanges: what somebody else did to a document is seen before it is written
// over.
func TestForeignChanges(t *testing.T) {
	const theirs = `{"data":"theirs"}`
	overwrite := filesConfig + "on_foreign_change: overwrite\n"
	for _, c := range []struct {
		name, config, theirs string
		remove               bool // the update is a delete
		want                 connectors.Class
		held                 string
		content              string // afterwards; "ours" is the update's own
	}{
		{"changed", filesConfig, theirs, false, connectors.Conflict, "", theirs},
		{"changed, written over", overwrite, theirs, false, connectors.OK, "", "ours"},
		{"deleted", filesConfig, "", false, connectors.Conflict, "", ""},
		{"deleted, made again", overwrite, "", false, connectors.OK, "", "ours"},
		{"changed, and its version left", filesConfig, `{"version":1}`, false, connectors.Conflict, "", `{"version":1}`},
		{"newer", filesConfig, `{"version":9}`, false, connectors.Stale, "9", `{"version":9}`},
		{"newer, written over", overwrite, `{"version":9}`, false, connectors.Stale, "9", `{"version":9}`},
		{"this version with another content", filesConfig, `{"version":2}`, false, connectors.Conflict, "2", `{"version":2}`},
		{"a version of another kind", filesConfig, `{"version":"2026-01-01T00:00:00Z"}`, false, connectors.Conflict, "", `{"version":"2026-01-01T00:00:00Z"}`},
		{"changed, to be deleted", filesConfig, theirs, true, connectors.Conflict, "", theirs},
		{"changed, deleted", overwrite, theirs, true, connectors.OK, "", ""},
		{"deleted, to be deleted", filesConfig, "", true, connectors.OK, "", ""},
		{"newer, to be deleted", filesConfig, `{"version":9}`, true, connectors.Stale, "9", `{"version":9}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			api := &apis.Files{}
			e := newEngine(t, api, c.config)
			e.once(numbered(1, "first"))
			api.Write("k", c.theirs)
			a := numbered(2, "ours")
			if c.remove {
				a = numbered(2, "")
			}
			got := e.once(a)
			if got.Class != c.want || got.Held.Version.String() != c.held || (got.Err == nil) != (c.want == connectors.OK) {
				t.Errorf("%s, held %q (%v); want %s, %q", got.Class, got.Held.Version, got.Err, c.want, c.held)
			}
			if c.content == "ours" {
				c.content = string(a.Payload)
			}
			if content, _, _ := api.Held("k"); content != c.content {
				t.Errorf("the target has %q, want %q", content, c.content)
			}
			if c.want == connectors.OK && !c.remove {
				if got := e.once(numbered(3, "more")); got.Class != connectors.OK {
					t.Errorf("the next one: %s (%v)", got.Class, got.Err)
				}
			}
		})
	}
}

// TestOursInAnotherForm: a target that rewrites what it gets, and keeps version and digest,
// has the update; a replay writes it again.
func TestOursInAnotherForm(t *testing.T) {
	for _, again := range []bool{false, true} {
		api := &apis.Files{}
		e := newEngine(t, api, filesConfig)
		e.once(numbered(1, "first"))
		a := numbered(2, "ours")
		rewritten := fmt.Sprintf(`{"version":2,"digest":%q}`, a.Digest)
		api.Write("k", rewritten)
		a.Again = again
		if got := e.once(a); got.Class != connectors.OK {
			t.Errorf("%s (%v)", got.Class, got.Err)
		}
		if content, _, _ := api.Held("k"); (content == rewritten) == again {
			t.Errorf("again %v: the target has %q", again, content)
		}
		if got := e.once(numbered(3, "more")); got.Class != connectors.OK {
			t.Errorf("the next one: %s (%v)", got.Class, got.Err)
		}
	}
}

// TestGoneObjects: an object whose id is known, and which is no more.
func TestGoneObjects(t *testing.T) {
	for config, want := range map[string]connectors.Class{
		contactsConfig: connectors.Conflict,
		contactsConfig + "on_foreign_change: overwrite\n": connectors.OK,
	} {
		api := &apis.Contacts{}
		e := newEngine(t, api, config, "0s")
		e.once(numbered(1, "a"))
		was := maps.Clone(e.refs)
		api.Remove("k")
		if got := e.once(numbered(2, "b")); got.Class != want {
			t.Errorf("%s (%v), want %s", got.Class, got.Err, want)
		}
		if want == connectors.OK && (len(api.Held("k")) != 1 || maps.Equal(was, e.refs)) {
			t.Errorf("the target has %v, remembered are %v", api.Held("k"), e.refs)
		}
		// Somebody made it again under another id: the search knows it.
		api.Remove("k")
		made, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/contacts", strings.NewReader(`{"external_id":"k","data":"theirs"}`))
		if err != nil {
			t.Fatal(err)
		}
		api.ServeHTTP(httptest.NewRecorder(), made)
		if got := e.once(numbered(3, "c")); got.Class != connectors.OK || len(api.Held("k")) != 1 {
			t.Errorf("made again: %s (%v), %v", got.Class, got.Err, api.Held("k"))
		}
	}
}

// TestLookupFails: as long as it is not known what the target has, nothing is created.
func TestLookupFails(t *testing.T) {
	for _, c := range []struct {
		name, found string
		answer      http.HandlerFunc
		want        connectors.Class
		code        string
	}{
		{"broken", "", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, connectors.Transient, "500"},
		{"throttled", "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(429)
		}, connectors.Throttled, "429"},
		{"refused", "", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) }, connectors.Misconfigured, "400"},
		{"being deployed", ".body.total > 0", http.NotFound, connectors.Unready, "404"},
		{"not what is expected", ".body.total > 0", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("[]")) }, connectors.Transient, codeLookup},
		{"without what is wanted", "", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }, connectors.Misconfigured, codeLookup},
		{"what no header carries", "", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"id":"a\nb"}`)) }, connectors.Misconfigured, codeLookup},
		{"too long to be kept", "", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"id":%q}`, strings.Repeat("x", connectors.MaxRefs))
		}, connectors.Misconfigured, codeLookup},
		{"our own secret", "", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, `{"id":%q}`, testToken) }, connectors.Misconfigured, codeLookup},
	} {
		t.Run(c.name, func(t *testing.T) {
			var created atomic.Int64
			config := Config{
				Auth:   Auth{Bearer: "${env:TOKEN}"},
				Lookup: Lookup{Found: c.found, Remember: map[string]string{"id": ".body.id"}},
			}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet {
					created.Add(1)
					return
				}
				c.answer(w, r)
			}))
			t.Cleanup(s.Close)
			config.URL, config.Lookup.URL, config.AllowCIDRs = connectors.Ref(s.URL), connectors.Ref(s.URL+"/?k={key}"), []string{"127.0.0.0/8"}
			a := testAttempt()
			a.Unsure = true
			got := apply(t, openTest(t, config, deps{now: time.Now}), a)
			wantResult(t, got, c.want, c.code)
			if (got.RetryAfter == time.Minute) != (c.want == connectors.Throttled) {
				t.Errorf("waits %v", got.RetryAfter)
			}
			if created.Load() != 0 || got.Remember != nil {
				t.Errorf("%d objects were made, remembered is %v", created.Load(), got.Remember)
			}
		})
	}
}

// TestInProgress: a create that the target is still carrying out when its caller has given
// up is asked for again until it has an answer.
func TestInProgress(t *testing.T) {
	release, held := make(chan struct{}), make(chan struct{}, 1)
	api := &apis.Orders{Hold: func(key string) {
		if !strings.Contains(key, "/update") {
			held <- struct{}{}
			<-release
		}
	}}
	var creates atomic.Int64
	carriedOut := make(chan struct{}) // the create that was given up
	e := newEngine(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && creates.Add(1) == 1 {
			defer close(carriedOut)
		}
		api.ServeHTTP(w, r)
	}), contactsConfig, "0s")
	a := numbered(1, "a")
	a.Number = 1
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan connectors.Result)
	go func() { ended <- e.conn.Apply(ctx, []connectors.Attempt{a})[0] }()
	<-held
	cancel()
	if res := <-ended; res.Class != connectors.Transient {
		t.Fatalf("given up: %s (%v)", res.Class, res.Err)
	}
	e.unsure = true
	if res := e.once(a); res.Class != connectors.Unready || res.Code != "409" {
		t.Errorf("in progress: %s, code %s (%v)", res.Class, res.Code, res.Err)
	}
	close(release)
	<-carriedOut
	if res := e.deliver(a); res.Class != connectors.OK || len(api.Held("k")) != 1 || e.refs["id"] != api.Held("k")[0].ID {
		t.Errorf("%s (%v), the target has %v, remembered is %v", res.Class, res.Err, api.Held("k"), e.refs)
	}
}

// TestRequestsByRefs: what a request looks like by what is remembered.
func TestRequestsByRefs(t *testing.T) {
	config := fmt.Sprintf(strings.ReplaceAll(contactsConfig, "update: {method: PUT,", "update: {method: PATCH, headers: {If-Match: '{ref.etag}', X-Static: a},"), "https://crm.example", "0s")
	config = strings.Replace(config, "remember: {id: .body.id}", "remember: {id: .body.id, etag: .headers.etag}", 1)
	c, err := Decode([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	conn := openTest(t, c, deps{now: time.Now}).(connectors.Previewer)
	for _, c := range []struct {
		refs    connectors.Refs
		op      events.Op
		request string
		ifMatch string
	}{
		{nil, events.Upsert, "POST https://crm.example/contacts", ""},
		{connectors.Refs{"id": "a/b ?#..", "etag": `"x"`}, events.Upsert, "PATCH https://crm.example/contacts/a%2Fb%20%3F%23..", `"x"`},
		{connectors.Refs{"id": "7"}, events.Upsert, "POST https://crm.example/contacts", ""},
		{connectors.Refs{"id": "7"}, events.Delete, "DELETE https://crm.example/contacts/7", ""},
		{nil, events.Delete, "DELETE https://crm.example/contacts/%7Bref.id%7D", ""},
	} {
		a := testAttempt()
		if c.op == events.Delete {
			a = testTombstone()
		}
		a.Refs = c.refs
		got, err := conn.Preview(t.Context(), a)
		if err != nil || got.Method+" "+got.URL != c.request || got.Headers["If-Match"] != c.ifMatch {
			t.Errorf("%v, %s: %s %s, %v, %v", c.refs, c.op, got.Method, got.URL, got.Headers, err)
		}
	}
	a := testAttempt()
	a.Refs = connectors.Refs{"id": "..", "etag": `"x"`}
	if _, err := conn.Preview(t.Context(), a); err == nil {
		t.Error("an id of dots makes another path")
	}
	a.Refs = connectors.Refs{"id": "1", "etag": "x\r\nA: b"}
	if _, err := conn.Preview(t.Context(), a); err == nil {
		t.Error("a value with lines is sent")
	}
}

// TestWhatIsRemembered: values of an answer that are kept, and those that cannot be.
func TestWhatIsRemembered(t *testing.T) {
	for _, c := range []struct {
		body string
		want connectors.Refs
	}{
		{`{"id":"7"}`, connectors.Refs{"id": "7"}},
		{`{"id":9007199254740993}`, connectors.Refs{"id": "9007199254740993"}},
		{`{"id":""}`, connectors.Refs{"id": ""}},
		{`{"id":null}`, nil},
		{`{}`, nil},
		{`{"id":{"a":1}}`, nil},
		{`{"id":true}`, nil},
		{`{"id":"a\nb"}`, nil},
		{`{"id":"` + strings.Repeat("x", connectors.MaxRefs) + `"}`, nil},
		{`{"id":"is ` + testToken + `"}`, nil},
		{`no JSON`, nil},
	} {
		config := Config{Auth: Auth{Bearer: "${env:TOKEN}"}, Answers: []Answer{{When: "true", Class: "ok", Remember: map[string]string{"id": ".body.id"}}}}
		conn := openTo(t, config, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(c.body)) })
		got := applyOne(t, conn)
		wantResult(t, got, connectors.OK, "200")
		if !maps.Equal(got.Remember, c.want) || (got.Remember == nil) != (c.want == nil) {
			t.Errorf("%.60s gives %v, want %v", c.body, got.Remember, c.want)
		}
	}
}

// TestCapabilityToRemember follows the configuration.
func TestCapabilityToRemember(t *testing.T) {
	for config, want := range map[string]bool{
		"url: https://a.example":                                         false,
		fmt.Sprintf(contactsConfig, "https://a.example", "1s"):           true,
		"url: https://a.example\nanswers: [{when: 'true', class: ok}]":   false,
		"url: https://a.example\nread: {url: 'https://a.example/{key}'}": false,
	} {
		if got := Kind().With([]byte(config)).Remembers; got != want {
			t.Errorf("%s: %v", config, got)
		}
	}
}
