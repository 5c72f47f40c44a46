package integration

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
)

// testDoc is what channels test writes with --json.
type testDoc struct {
	Channel, Key, Version, Op, Decision, Payload, Body string
	ContentType                                        string `json:"content_type"`
	Error                                              *struct{ Class, Code, Message string }
	Preview                                            *struct {
		Method, URL, Statement string
		Headers                map[string]string
		Parameters             []any
	}
	Result *struct{ Class, Code, Error, Held, Response string }
}

func TestChannelsTest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.env = append(s.env, "CHANNEL_TOKEN=hunter2-hunter2")
	var calls atomic.Int64
	url := target(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.Header.Get("Authorization") != "Bearer hunter2-hunter2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/stale") {
			w.Header().Set("ce-entityversion", "9")
			w.WriteHeader(http.StatusConflict)
		}
		_, _ = w.Write([]byte("thank you"))
	})
	file := s.file("channels.yaml", `
channels:
  - name: portal
    filter: .public
    mapping: '{id: $key, v: $version, text: .text}'
    connector:
      kind: http
      config: {url: '`+url+`/cases/{key}', method: PUT, auth: {bearer: "${env:CHANNEL_TOKEN}"}, allow_cidrs: [127.0.0.0/8]}
  - name: erp
    connector: {kind: sql, config: {dialect: sqlite, dsn: '`+filepath.Join(s.dir, "erp.db")+`', auto_create: true}}
`)
	const sample = `{"public":true,"text":"x","n":9007199254740993}`
	try := func(args ...string) (doc testDoc) {
		t.Helper()
		s.extsync(append([]string{"channels", "test", "--json"}, args...)...).decode(t, &doc)
		return doc
	}

	// From a file, without a broker, and without the secret.
	alone := extsync("channels", "test", "portal", "-f", file, "k/1", "7", "--data", sample, "--nats-url", nobody, "--json")
	var doc testDoc
	alone.decode(t, &doc)
	if doc.Decision != "send" || doc.Preview == nil || doc.Preview.Method != "PUT" || doc.Preview.URL != url+"/cases/k%2F1" ||
		doc.Preview.Headers["Authorization"] != "Bearer ***" || doc.Body != `{"id":"k/1","text":"x","v":7}` || doc.Result != nil {
		t.Errorf("from a file: %+v", doc)
	}
	s.extsync("channels", "apply", "-f", file).ok(t)
	if doc := try("portal", "--data", `{"public":false}`); doc.Decision != "filtered" || doc.Preview != nil {
		t.Errorf("filtered: %+v", doc)
	}
	if doc := try("portal", "k", "8", "--op", "delete"); doc.Decision != "send" || doc.Op != "delete" || doc.Payload != "" {
		t.Errorf("delete: %+v", doc)
	}
	doc = try("erp", "k", "7", "--data", sample)
	if doc.Preview == nil || !strings.Contains(doc.Preview.Statement, `INSERT INTO "extsync_erp"`) || !slices.Contains(doc.Preview.Parameters, any("k")) || doc.Payload != sample {
		t.Errorf("sql: %+v", doc)
	}
	text := s.extsync("channels", "test", "portal", "--data", sample).ok(t)
	for _, want := range []string{"request:", "PUT " + url, "Authorization: Bearer ***", "nothing was sent", `"text":"x"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	if calls.Load() != 0 {
		t.Fatalf("the target got %d calls", calls.Load())
	}

	doc = try("portal", "k", "7", "--data", sample, "--send")
	if doc.Result == nil || doc.Result.Class != "ok" || doc.Result.Code != "200" || doc.Result.Response != "thank you" || calls.Load() != 1 {
		t.Errorf("sent: %+v, %d calls", doc, calls.Load())
	}
	e := s.extsync("channels", "test", "portal", "stale", "7", "--data", sample, "--send", "--json").run(t)
	decodeJSON(t, e.out, &doc)
	if e.code != cli.ExitUndelivered || doc.Result == nil || doc.Result.Class != "stale" || doc.Result.Held != "9" || strings.Contains(e.out+e.err, "hunter2") {
		t.Errorf("stale: exit code %d, %+v\n%s", e.code, doc, e.err)
	}
	if doc := try("erp", "k", "7", "--data", sample, "--send"); doc.Result == nil || doc.Result.Class != "ok" {
		t.Errorf("sql sent: %+v", doc)
	}

	e = s.extsync("channels", "test", "portal", "--data", `["canary"]`).run(t)
	if e.code != cli.ExitUndelivered || !strings.Contains(e.out, "filter") || !strings.Contains(e.err, ".public") || strings.Contains(e.err, "canary") {
		t.Errorf("a filter that fails: exit code %d\n%s%s", e.code, e.out, e.err)
	}
	refused(t, s.extsync("channels", "test", "nosuch", "--data", "{}"), cli.ExitUnknown, "nosuch")
	refused(t, s.extsync("channels", "test", "nosuch", "-f", file, "--data", "{}"), cli.ExitUnknown, "nosuch")
	refused(t, s.extsync("channels", "test", "portal", "-f", "-", "--data", "-"), cli.ExitUsage, "standard input")
	refused(t, s.extsync("channels", "test", "portal"), cli.ExitUsage, "--data")
	unset := extsync("channels", "test", "portal", "-f", file, "--data", sample, "--send")
	refused(t, unset, cli.ExitUsage, "TOKEN", "as a worker does")
	bad := s.file("bad.yaml", `channels: [{name: a, filter: ".[", mapping: nosuch, connector: {kind: http, config: {url: "https://a.example"}}}]`)
	refused(t, extsync("channels", "test", "a", "-f", bad, "--data", "{}"), cli.ExitUsage, "filter", "mapping")
	refused(t, extsync("channels", "apply", "-f", bad), cli.ExitUsage, "filter", "mapping", "nosuch")
}
