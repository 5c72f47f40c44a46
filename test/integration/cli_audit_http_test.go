package integration

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// A shelf is an HTTP target that takes what comes and tells what it holds.
type shelf struct {
	mu   sync.Mutex
	held map[string]http.Header
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method != http.MethodGet {
		key, err := url.PathUnescape(r.Header.Get("ce-subject"))
		if err != nil {
			http.Error(w, "ce-subject", http.StatusBadRequest)
			return
		}
		s.held[key] = r.Header.Clone()
		return
	}
	held, there := s.held[strings.TrimPrefix(r.URL.Path, "/held/")]
	if !there {
		http.NotFound(w, r)
		return
	}
	for _, name := range []string{"ce-entityversion", "ce-entitydigest", "ce-op"} {
		w.Header().Set(name, held.Get(name))
	}
}

func (s *shelf) change(key string, f func(http.Header)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.held[key])
}

// A target that can be asked for one key is audited key by key, and repaired.
func TestAuditOfAnHTTPTarget(t *testing.T) {
	t.Parallel()
	target := &shelf{held: map[string]http.Header{}}
	server := httptest.NewServer(target)
	defer server.Close()
	s := newSite(t)
	s.extsync("channels", "apply", "-f", s.file("channels.yaml", fmt.Sprintf(`
channels:
  - name: portal
    connector:
      kind: http
      config: {url: %[1]s/in, allow_cidrs: [127.0.0.0/8], read: {url: '%[1]s/held/{key}'}}
  - name: mute
    connector:
      kind: http
      config: {url: %[1]s/in, allow_cidrs: [127.0.0.0/8]}
`, server.URL))).ok(t)
	s.worker()
	for i := range 6 {
		s.extsync("push", "portal", fmt.Sprintf("a/%d ä", i), "7", "--data", fmt.Sprint(i), "--wait", testkit.Patience.String()).ok(t)
	}
	audit := func(code int, args ...string) (doc auditDoc) {
		t.Helper()
		e := s.extsync(append([]string{"audit", "portal", "--json"}, args...)...).run(t)
		if e.code != code {
			t.Fatalf("audit %q: code %d\n%s%s", args, e.code, e.out, e.err)
		}
		decodeJSON(t, e.out, &doc)
		return doc
	}
	if doc := audit(cli.ExitOK); doc.Summary.Looked != 6 {
		t.Fatalf("the audit did not look at 6 keys: %+v", doc.Summary)
	}
	target.mu.Lock()
	delete(target.held, "a/0 ä")
	target.mu.Unlock()
	target.change("a/1 ä", func(h http.Header) { h.Set("ce-entityversion", "6") })
	target.change("a/2 ä", func(h http.Header) { h.Set("ce-entityversion", "8") })
	target.change("a/3 ä", func(h http.Header) { h.Set("ce-entitydigest", strings.Repeat("0a", 32)) })
	target.change("a/4 ä", func(h http.Header) { h.Del("ce-entitydigest"); h.Set("ce-op", "delete") })
	differences := func(doc auditDoc) map[string]string {
		out := map[string]string{}
		for _, f := range doc.Findings {
			out[f.Key] = f.Difference
		}
		return out
	}
	want := map[string]string{"a/0 ä": "missing", "a/1 ä": "behind", "a/2 ä": "ahead", "a/3 ä": "different", "a/4 ä": "different"}
	if got := differences(audit(cli.ExitFound)); !maps.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	audit(cli.ExitFound, "--repair", "--yes") // what is ahead stays
	if got := differences(audit(cli.ExitFound)); !maps.Equal(got, map[string]string{"a/2 ä": "ahead"}) {
		t.Errorf("after the repair: %v", got)
	}
	if e := s.extsync("audit", "mute").run(t); e.code == cli.ExitOK || !strings.Contains(e.err, "read.url") {
		t.Errorf("a target without read.url: code %d, %s", e.code, e.err)
	}
}
