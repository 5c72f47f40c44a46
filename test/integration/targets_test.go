package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// portal is a channel to a target on this machine.
func (s *site) portal(url, more string) {
	s.t.Helper()
	s.extsync("channels", "apply", "-f", s.file("channels.yaml", fmt.Sprintf(`
channels:
  - name: portal
    connector: {kind: http, config: {url: %q, allow_cidrs: [127.0.0.0/8]%s}}
`, url, more))).ok(s.t)
}

// TestAnswerIsToldEverywhere: a 422 that explains itself left only its status.
func TestAnswerIsToldEverywhere(t *testing.T) {
	t.Parallel()
	const why = "the field owner must name a person"
	var status atomic.Int32
	status.Store(http.StatusUnprocessableEntity)
	s := newSite(t)
	s.portal(target(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		_, _ = fmt.Fprintf(w, "{\n  \"title\": %q\n}", why)
	}), "")
	s.worker()
	e := s.extsync("push", "portal", "k", "1", "--data", "{}", "--wait", "30s").run(t)
	if e.code != cli.ExitUndelivered || !strings.Contains(e.out, why) {
		t.Errorf("push --wait: %+v", e)
	}
	letters := s.letters("--state", "any").Entries // the ledger may be a moment behind
	if len(letters) != 1 {
		t.Fatalf("%d letters", len(letters))
	}
	testkit.Eventually(t, "the ledger has it", func() bool {
		return strings.Contains(s.extsync("get", "k").ok(t), "portal answered: { ")
	})
	for _, args := range [][]string{
		{"get", "k"},
		{"get", "k", "--json"},
		{"get", "k", "--timeline"},
		{"dead", "show", fmt.Sprint(letters[0].Sequence)},
		{"dead", "show", fmt.Sprint(letters[0].Sequence), "--json"},
		{"tail", "portal", "--since", "1h", "--count", "1"},
	} {
		if out := s.extsync(args...).ok(t); !strings.Contains(out, why) {
			t.Errorf("%v does not say why:\n%s", args, out)
		}
	}
	status.Store(http.StatusInternalServerError) // an attempt that will be repeated
	s.extsync("push", "portal", "again", "1", "--data", "{}").ok(t)
	testkit.Eventually(t, "get says why it fails", func() bool {
		return strings.Contains(s.extsync("get", "again").ok(t), why)
	})
}

// TestSecretsAreReadAgain: ten minutes of 401 with the old value. The target takes
// another token from now on; the worker, which runs all the while, finds it in its
// file, which is swapped as Kubernetes does it.
func TestSecretsAreReadAgain(t *testing.T) {
	t.Parallel()
	var wanted atomic.Value
	wanted.Store("old-token-1")
	url := target(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+wanted.Load().(string) { //nolint:forcetypeassert // stored above
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, "no such token: %s", r.Header.Get("Authorization"))
		}
	})
	s := newSite(t)
	mount := func(revision, token string) {
		t.Helper()
		dir := filepath.Join(s.dir, revision)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s.file(filepath.Join(revision, "token"), token)
		link := filepath.Join(s.dir, "..tmp")
		if err := os.Symlink(revision, link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(s.dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	mount("..1", "old-token-1")
	s.portal(url, `, auth: {bearer: "${file:`+filepath.Join(s.dir, "..data", "token")+`}"}`)
	worker := s.worker()
	push := func(version string) ended {
		t.Helper()
		return s.extsync("push", "portal", "k", version, "--data", version, "--wait", "30s").run(t)
	}
	if e := push("1"); e.code != 0 {
		t.Fatalf("version 1 is not delivered with the first token: %+v", e)
	}
	wanted.Store("new-token-2")
	s.extsync("push", "portal", "k", "2", "--data", "2").ok(t)
	testkit.Eventually(t, "the channel is blocked, and says when it looks again", func() bool {
		out := s.extsync("status", "portal", "--interval", "200ms").ok(t)
		return strings.Contains(out, "blocked; next probe 20")
	})
	testkit.Eventually(t, "get says so, too", func() bool {
		return strings.Contains(s.extsync("get", "k").ok(t), "credentials_refused: blocked at worker")
	})
	mount("..2", "new-token-2")
	s.extsync("wait", "portal", "k@2", "--timeout", "30s").ok(t)
	if letters := s.letters("--state", "any").Entries; len(letters) != 0 {
		t.Errorf("an update was given up: %+v", letters)
	}

	// Before anybody is refused: the file alone is enough, and reload does not wait.
	wanted.Store("last-token-3")
	mount("..3", "last-token-3")
	if out := s.extsync("channels", "reload", "portal").ok(t); !strings.Contains(out, "open the connector anew") {
		t.Errorf("reload: %s", out)
	}
	testkit.Eventually(t, "the worker says so", func() bool { return strings.Contains(worker.stderr(), "an operator asked for it") })
	if e := push("3"); e.code != 0 {
		t.Errorf("version 3 is not delivered with the last token: %+v", e)
	}
	for _, text := range []string{
		worker.stderr(), s.extsync("get", "k", "--timeline", "--json").ok(t), s.extsync("audit-log", "--json").ok(t),
		s.extsync("status", "--json", "--interval", "200ms").ok(t),
	} {
		for _, secret := range []string{"old-token", "new-token", "last-token"} {
			if strings.Contains(text, secret) {
				t.Errorf("it shows a secret:\n%s", text)
			}
		}
	}
}

// TestVariablesNeedARestart: what can not change by itself is not said to.
func TestVariablesNeedARestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.env = append(s.env, "CHANNEL_PORTAL_TOKEN=wrong-token")
	s.portal(target(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }), `, auth: {bearer: "${env:CHANNEL_PORTAL_TOKEN}"}`)
	s.worker()
	s.extsync("push", "portal", "k", "1", "--data", "1").ok(t)
	const hint = "${env:CHANNEL_PORTAL_TOKEN} is read only when the worker is restarted"
	testkit.Eventually(t, "the status says so", func() bool {
		return strings.Contains(s.extsync("status", "portal", "--interval", "200ms").ok(t), hint)
	})
	if out := s.extsync("doctor").run(t).out; !strings.Contains(out, "but a new value of "+hint) {
		t.Errorf("doctor:\n%s", out)
	}
}

// TestTargetThatComesBack: recovery took 42 and 76 s after an outage of a minute. The
// target is a listener that is gone for a while; one key only is waiting.
func TestTargetThatComesBack(t *testing.T) {
	t.Parallel()
	outage := sized(t, "outage", 12*time.Second, time.Minute)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	s := newSite(t)
	s.portal("http://"+address, "")
	s.worker()
	s.extsync("push", "portal", "k", "1", "--data", "1").ok(t)
	down := time.Now()
	for time.Since(down) < outage {
		var doc struct {
			Channels []struct {
				NextAttempt time.Time `json:"next_attempt"`
			} `json:"channels"`
		}
		out := s.extsync("get", "k", "--json").ok(t)
		if err := json.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatal(err)
		}
		// The command has run for less than a second since it looked.
		if next := doc.Channels[0].NextAttempt; !next.IsZero() && next.Before(time.Now().Add(-5*time.Second)) {
			t.Fatalf("the next attempt is in the past:\n%s", out)
		}
	}
	testkit.Eventually(t, "the circuit is open", func() bool {
		return strings.Contains(s.extsync("get", "k").ok(t), "circuit_open")
	})
	if listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", address); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	back := time.Now()
	if outage == time.Minute { // by itself
		s.extsync("wait", "portal", "k@1", "--timeout", "30s").ok(t)
	} else {
		out := s.extsync("channels", "probe", "portal").ok(t)
		if !strings.Contains(out, "closed") {
			t.Errorf("probe:\n%s", out)
		}
		s.extsync("wait", "portal", "k@1", "--timeout", "30s").ok(t)
	}
	t.Logf("delivered %s after the target was back", time.Since(back).Round(time.Millisecond))
}
