package connhttp

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/testkit/apis"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// recordsConfig is for PocketBase, which makes ids and finds records by a filter.
const recordsConfig = `
url: %[1]s/api/collections/contacts/records
allow_cidrs: [127.0.0.0/8]
update: {method: PATCH, url: '%[1]s/api/collections/contacts/records/{ref.id}'}
delete: {url: '%[1]s/api/collections/contacts/records/{ref.id}'}
lookup:
  url: "%[1]s/api/collections/contacts/records?filter=(external_id='{key}')"
  found: .body.totalItems > 0
  remember: {id: '.body.items[0].id'}
answers:
  - {when: .status < 300 and .body.id != null, class: ok, remember: {id: .body.id}}
`

// records asks the server itself how many records there are of the key "k".
func records(t *testing.T, address string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/api/collections/contacts/records?filter=(external_id='k')", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }() // only read from
	var found struct{ TotalItems int }
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	return found.TotalItems
}

// startPocketBase builds and starts a real server, and returns its address.
func startPocketBase(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "pocketbase")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./pocketbase")
	build.Dir, build.Env = "../../../test/servers", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close() // for the server
	var out bytes.Buffer
	server := exec.CommandContext(t.Context(), program, address, t.TempDir())
	server.Stdout, server.Stderr, server.WaitDelay = &out, &out, 5*time.Second
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	testkit.Eventually(t, "PocketBase answers", func() bool {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return "http://" + address
}

// TestRealServer: a real server that makes ids has one record of a key, whatever answer is
// lost.
func TestRealServer(t *testing.T) {
	t.Parallel() // it is built first
	most := 2
	if os.Getenv("EXTSYNC_TEST_FULL") != "" {
		most = 8
	}
	address := startPocketBase(t)
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for lost := 1; lost <= most; lost++ {
		for _, fate := range []apis.Fate{apis.Refused, apis.Lost} {
			front := &apis.Lossy{API: httputil.NewSingleHostReverseProxy(target)}
			front.Decide(faulty(lost, lost+2, fate, fate))
			e := newEngine(t, front, recordsConfig)
			for _, a := range append(life(), numbered(5, "")) {
				if res := e.deliver(a); res.Class != connectors.OK {
					t.Fatalf("request %d, fate %v: %s: %s (%v) %s", lost, fate, a.Version, res.Class, res.Err, res.Response)
				}
				want := 1
				if a.Op == events.Delete {
					want = 0
				}
				if got := records(t, address); got != want {
					t.Fatalf("request %d, fate %v: after %s there are %d records", lost, fate, a.Version, got)
				}
			}
		}
	}
}
