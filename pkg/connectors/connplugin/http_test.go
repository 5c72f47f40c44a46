package connplugin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/examples/connector/jsonfile"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/testkit/plugged"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connplugin"
	"github.com/hms-utl/extsync/pkg/connectors/connproto"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A server is a plugin by HTTP, with a connector for each session.
type server struct {
	mu       sync.Mutex
	sessions map[string]*plugged.Server
	// answer replaces the answer to apply; nil: it does not.
	answer func(http.ResponseWriter, *plugged.Request)
}

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = map[string]*plugged.Server{}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req plugged.Request
	if r.Header.Get("Authorization") != "Bearer swordfish" || json.NewDecoder(r.Body).Decode(&req) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if req.Method == "apply" && s.answer != nil {
		s.answer(w, &req)
		return
	}
	s.mu.Lock()
	if s.sessions == nil {
		s.sessions = map[string]*plugged.Server{}
	}
	session := s.sessions[req.Session]
	if session == nil && (req.Method == "hello" || req.Method == "open") {
		session = &plugged.Server{Kind: jsonfile.Kind(), Env: connectortest.Env(nil)}
		s.sessions[req.Session] = session
	}
	s.mu.Unlock()
	if session == nil {
		_, _ = fmt.Fprintf(w, `{"id":%d,"error":{"class":"transient","code":"not_open","message":"who are you"}}`, req.ID)
		return
	}
	_ = json.NewEncoder(w).Encode(session.Answer(r.Context(), &req))
}

func httpConfig(url, dir string) []byte {
	return fmt.Appendf(nil, "{via: http, url: %q, allow_cidrs: [127.0.0.0/8], headers: {Authorization: 'Bearer ${env:TOKEN}'}, config: {directory: %q}, "+
		"capabilities: {guard: atomic, keeps_digest: true, keeps_tombstone: true, probes: true, reads: true}}", url, dir)
}

func TestConformanceByHTTP(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	testkit.Must(t, os.Mkdir(dir, 0o700))
	socket := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	testkit.Must(t, err)
	srv := httptest.NewUnstartedServer(new(server))
	testkit.Must(t, srv.Listener.Close())
	srv.Listener = l
	srv.Start()
	defer srv.Close()
	e := env(t, map[string]string{"TOKEN": "swordfish"})
	connectortest.Run(t, connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened {
			t.Helper()
			return open(t, e, httpConfig("unix:"+socket, dir))
		},
		Read:    (&reader{dir: dir}).read,
		Guarded: true, KeepsDigest: true, Tombstones: true, Secrets: []string{"swordfish"},
		BadUpdate:     func(u *events.Update) { u.Payload = []byte("{") },
		OwnGoroutines: []string{"net/http.(*conn).serve", "net/http.(*connReader).backgroundRead", "net/http.(*Server).Serve"},
	})
}

// A server that was started anew does not know its sessions, and gets a new one.
func TestServerThatForgets(t *testing.T) {
	s := new(server)
	srv := httptest.NewServer(s)
	defer srv.Close()
	c := open(t, env(t, map[string]string{"TOKEN": "swordfish"}), httpConfig(srv.URL, t.TempDir()))
	defer func() { testkit.Must(t, c.Close(t.Context())) }()
	for range 3 {
		if r := applyOne(t, c); r.Class != connectors.OK {
			t.Fatalf("%+v", r)
		}
		s.forget()
	}
}

func TestHostileServers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter, *plugged.Request)
		class  connectors.Class
		code   string
	}{
		"500":      {func(w http.ResponseWriter, _ *plugged.Request) { w.WriteHeader(500) }, connectors.Transient, "500"},
		"403":      {func(w http.ResponseWriter, _ *plugged.Request) { w.WriteHeader(403) }, connectors.Misconfigured, "403"},
		"redirect": {func(w http.ResponseWriter, _ *plugged.Request) { w.Header().Set("Location", "/x"); w.WriteHeader(307) }, connectors.Transient, "307"},
		"garbage":  {func(w http.ResponseWriter, _ *plugged.Request) { _, _ = io.WriteString(w, "swordfish") }, connectors.Transient, "protocol"},
		"another":  {func(w http.ResponseWriter, _ *plugged.Request) { _, _ = io.WriteString(w, `{"id":0}`) }, connectors.Transient, "protocol"},
		"too large": {func(w http.ResponseWriter, _ *plugged.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", connproto.MaxAnswer+1))
		}, connectors.Transient, "protocol"},
		"never open": {func(w http.ResponseWriter, r *plugged.Request) {
			_, _ = fmt.Fprintf(w, `{"id":%d,"error":{"class":"transient","code":"not_open"}}`, r.ID)
		}, connectors.Transient, "protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(&server{answer: tt.answer})
			defer srv.Close()
			c := open(t, env(t, map[string]string{"TOKEN": "swordfish"}), httpConfig(srv.URL, t.TempDir()))
			defer func() { testkit.Must(t, c.Close(t.Context())) }()
			if r := applyOne(t, c); r.Class != tt.class || r.Code != tt.code || strings.Contains(r.Err.Error(), "swordfish") {
				t.Errorf("%+v", r)
			}
		})
	}
}

func applyOne(t *testing.T, c *connectors.Opened) connectors.Result {
	t.Helper()
	u := events.Update{Channel: "c", Key: "k", Version: versioning.Must(versioning.Number(1)), Op: events.Upsert, Payload: []byte("{}")}
	return c.Apply(t.Context(), []connectors.Attempt{{Update: u, Digest: u.Digest(), Number: 1}})[0]
}

// How fast updates go through a plugin, beside the same connector in this process. What is
// written is nothing: the protocol is measured.
func BenchmarkApply(b *testing.B) {
	self, err := os.Executable()
	testkit.Must(b, err)
	nothing := connplugin.Kind()
	nothing.Open = func(context.Context, connectors.Env, []byte) (connectors.Connector, error) { return noop{}, nil }
	for name, kind := range map[string]connectors.Kind{"exec": connplugin.Kind(), "in-process": nothing} {
		b.Run(name, func(b *testing.B) { benchmarkApply(b, kind, self) })
	}
}

// noop writes nothing.
type noop struct{}

func (noop) Close(context.Context) error { return nil }
func (noop) MaxBatch() int               { return 100 }
func (noop) Probe(context.Context) error { return nil }

func (noop) Apply(_ context.Context, attempts []connectors.Attempt) []connectors.Result {
	return slices.Repeat([]connectors.Result{connectors.Done()}, len(attempts))
}

func benchmarkApply(b *testing.B, kind connectors.Kind, self string) {
	host := connectortest.Host(nil)
	host.Allow.Programs = connectors.List{self}
	e := host.Env("bench")
	e.Concurrency = connectortest.Concurrency
	c, err := connectors.Open(b.Context(), kind, e, fmt.Appendf(nil, "{command: [%q, %q, nothing, %q], max_batch: 100}", self, asPlugin, os.TempDir()))
	testkit.Must(b, err)
	defer func() { _ = c.Close(b.Context()) }() // nothing is written
	attempts := make([]connectors.Attempt, 100)
	for i := range attempts {
		u := events.Update{Channel: "c", Key: fmt.Sprintf("key-%d", i), Version: versioning.Must(versioning.Number(1)), Op: events.Upsert, Payload: []byte(`{"text":"` + strings.Repeat("x", 500) + `"}`)}
		attempts[i] = connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
	}
	b.ResetTimer()
	for b.Loop() {
		if r := c.Apply(b.Context(), attempts); len(r) != len(attempts) || r[0].Class != connectors.OK {
			b.Fatalf("%+v", r[0])
		}
	}
	b.ReportMetric(float64(b.N*len(attempts))/b.Elapsed().Seconds(), "updates/s")
}
