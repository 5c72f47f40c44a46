package integration

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// A target switches protocols, or stops in the middle of its answer, and keeps the
// connection open without a word. A worker with such calls in flight ends when it is
// asked to, and `channels test --send` says what happened.
func TestAnswersThatNeverEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.env = append(s.env, "EXTSYNC_WORKER_DRAIN_TIMEOUT=1s")
	var called sync.Map
	url := target(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the content does not matter
		answer := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
		if r.URL.Path == "/half" {
			answer = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, answer); err != nil {
			t.Error(err)
		}
		called.Store(r.URL.Path, true)
	})
	// The calls may take longer than the test waits for anything.
	s.extsync("channels", "apply", "-f", s.file("channels.yaml", fmt.Sprintf(`
channels:
  - name: switch
    timeout: 5m
    connector: {kind: http, config: {url: %[1]s/switch, allow_cidrs: [127.0.0.0/8]}}
  - name: half
    timeout: 5m
    connector: {kind: http, config: {url: %[1]s/half, allow_cidrs: [127.0.0.0/8]}}
`, url))).ok(t)
	var doc testDoc
	e := s.extsync("channels", "test", "switch", "--data", "{}", "--send", "--json").run(t)
	decodeJSON(t, e.out, &doc)
	if e.code == cli.ExitOK || doc.Result == nil || doc.Result.Class != "transient" || doc.Result.Code != "101" {
		t.Errorf("channels test --send: exit code %d, %+v\n%s", e.code, doc.Result, e.err)
	}

	worker := s.worker()
	for _, channel := range []string{"switch", "half"} {
		called.Delete("/" + channel)
		s.extsync("push", channel, "k", "1", "--data", "{}").ok(t)
		testkit.Eventually(t, "a call on channel "+channel, func() bool { _, there := called.Load("/" + channel); return there })
	}
	worker.signal(t, syscall.SIGTERM)
	if code := worker.wait(t); code != cli.ExitOK {
		t.Errorf("the worker ended with %d", code)
	}
}
