package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
)

// A site is a broker with the programs pointed at it.
type site struct {
	t      testing.TB
	env    []string
	dir    string
	broker *natstest.Broker
}

func newSite(t testing.TB) *site {
	t.Helper()
	broker := natstest.Run(t, natstest.Options{TCP: true})
	return &site{t: t, env: []string{"EXTSYNC_NATS_URL=" + broker.URL()}, dir: t.TempDir(), broker: broker}
}

func (s *site) extsync(args ...string) program {
	return program{name: "extsync", args: args, env: s.env}
}

// file writes a file and returns its path.
func (s *site) file(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// apply makes a channel to an HTTP target and one to a SQLite file.
func (s *site) apply(url string) {
	s.t.Helper()
	path := s.file("channels.yaml", fmt.Sprintf(`
channels:
  - name: appointment_calendar
    description: over HTTP
    retry: {initial_backoff: 50ms, max_backoff: 200ms}
    connector: {kind: http, config: {url: %q, allow_cidrs: [127.0.0.0/8]}}
  - name: erp_db
    connector: {kind: sql, config: {dialect: sqlite, dsn: %q, auto_create: true}}
`, url, filepath.Join(s.dir, "erp.db")))
	s.extsync("channels", "apply", "-f", path).ok(s.t)
}

// worker starts a connector-worker.
func (s *site) worker() *process {
	s.t.Helper()
	return program{name: "connector-worker", args: []string{"run"}, env: s.env}.start(s.t)
}

func target(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// The documents that --json writes: what scripts depend on, spelled out.
type (
	changesDoc struct {
		DryRun   bool `json:"dry_run"`
		Channels []struct{ Channel, Change string }
	}
	pushedDoc struct {
		Channel, Key, Version, ID string
		Sequence                  uint64
		Duplicate                 bool
		AckSubject                string `json:"ack_subject"`
		Ack                       *struct{ Outcome, Version string }
	}
	refusedDoc struct {
		Channel, Key, Version, Refused string
		Head                           struct{ Version, Digest string }
	}
	getDoc struct {
		Key      string
		Channels []struct {
			Channel, State string
			Newest, Target struct{ Version, Op, Digest string }
			Attempts       int
			Error          *struct{ Class, Code, Message string }
		}
	}
)

// Without a worker: what the publisher side alone decides.
func TestPushWithoutWorker(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	push := func(args ...string) program { return s.extsync(append([]string{"push", "erp_db"}, args...)...) }

	var first, again pushedDoc
	push("k", "7", "--data", `{"a":1}`, "--json").decode(t, &first)
	if first.Channel != "erp_db" || first.Key != "k" || first.Version != "7" || first.Sequence == 0 || first.Duplicate || first.Ack != nil {
		t.Errorf("receipt: %+v", first)
	}
	push("k", "7", "--data", `{"a":1}`, "--json").decode(t, &again)
	if !again.Duplicate || again.ID != first.ID {
		t.Errorf("repeated: %+v, first %+v", again, first)
	}
	refused(t, push("k", "6", "--data", `{"a":1}`), cli.ExitRefused, "stale", "older than the newest, 7")
	refused(t, push("k", "7", "--data", `{"a":2}`), cli.ExitRefused, "conflict", "new version")
	refused(t, push("k", "9", "--data", `{"a":2}`, "--base", "6"), cli.ExitRefused, "conflict", "6", "7")
	refused(t, push("k", "2024-05-01T12:00:00Z", "--data", "{}"), cli.ExitUsage, "different kinds")
	refused(t, s.extsync("push", "no_such", "k", "7", "--data", "{}"), cli.ExitUnknown, "no_such", "channels list")
	refused(t, s.extsync("get", "other"), cli.ExitUnknown, "other")
	refused(t, s.extsync("get", "k", "--channel", "no_such"), cli.ExitUnknown, "no_such")

	large := push("large", "1", "--data", "-")
	large.in = `"` + strings.Repeat("x", 2<<20) + `"`
	refused(t, large, cli.ExitUsage, "too large", "max_payload")

	e := push("k", "6", "--data", `{"a":1}`, "--json").run(t)
	var no refusedDoc
	decodeJSON(t, e.out, &no)
	if e.code != cli.ExitRefused || no.Refused != "stale" || no.Head.Version != "7" || no.Version != "6" || len(no.Head.Digest) != 64 {
		t.Errorf("refused --json: code %d, %+v", e.code, no)
	}

	e = push("k", "8", "--data", "{}", "--wait", "300ms", "--json", "--service", "portal").run(t)
	var waiting pushedDoc
	decodeJSON(t, e.out, &waiting)
	if e.code != cli.ExitNoAck || waiting.Sequence == 0 || waiting.Ack != nil || !strings.HasPrefix(waiting.AckSubject, "sync.acks.portal.") {
		t.Errorf("no ack: code %d, %+v\n%s", e.code, waiting, e.err)
	}
	var got getDoc
	s.extsync("get", "k", "--json").decode(t, &got)
	if len(got.Channels) != 2 || got.Channels[0].State != "absent" || got.Channels[1].State != "pending" ||
		got.Channels[1].Newest.Version != "8" || got.Channels[1].Target.Version != "" {
		t.Errorf("get: %+v", got)
	}
}

func TestSettingsPrecedence(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	good := strings.TrimPrefix(s.env[0], "EXTSYNC_NATS_URL=")
	bad := s.file("bad.yaml", "nats: {url: 'nats://127.0.0.1:1'}")
	p := program{name: "extsync", args: []string{"channels", "list", "--config", bad}}
	refused(t, p, cli.ExitBroker, "127.0.0.1:1")
	p.env = []string{"EXTSYNC_NATS_URL=" + good}
	p.ok(t)
	p.env = []string{"EXTSYNC_NATS_URL=" + nobody}
	p.args = append(p.args, "--nats-url", good)
	p.ok(t)
}

// The whole way: worker, targets, acks, and what get says of it.
func TestPushIsDelivered(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var calls atomic.Int64
	s.apply(target(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if strings.HasPrefix(r.Header.Get("ce-subject"), "bad") {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	worker := s.worker()
	for _, channel := range []string{"appointment_calendar", "erp_db"} {
		var doc pushedDoc
		s.extsync("push", channel, "p-2023-vax", "7", "--data", `{"content":"x"}`, "--wait", "30s", "--json").decode(t, &doc)
		if doc.Ack == nil || doc.Ack.Outcome != "delivered" || doc.Ack.Version != "7" {
			t.Errorf("%s: %+v", channel, doc)
		}
	}
	testkit.Eventually(t, "get says delivered everywhere", func() bool {
		var got getDoc
		s.extsync("get", "p-2023-vax", "--json").decode(t, &got)
		for _, c := range got.Channels {
			if c.State != "delivered" || c.Target.Version != "7" || c.Target.Digest != c.Newest.Digest {
				return false
			}
		}
		return len(got.Channels) == 2
	})
	if calls.Load() != 1 {
		t.Errorf("the HTTP target got %d calls", calls.Load())
	}

	e := s.extsync("push", "appointment_calendar", "bad-1", "1", "--data", "{}", "--wait", "30s").run(t)
	if e.code != cli.ExitUndelivered || !strings.Contains(e.err, "dead_lettered") || !strings.Contains(e.err, "422") {
		t.Errorf("a dead letter: exit code %d\n%s%s", e.code, e.out, e.err)
	}
	testkit.Eventually(t, "get shows the dead letter and why", func() bool {
		table := s.extsync("get", "bad-1", "--channel", "appointment_calendar").ok(t)
		return strings.Contains(table, "dead_lettered") && strings.Contains(table, "422")
	})

	worker.signal(t, syscall.SIGTERM)
	if code := worker.wait(t); code != cli.ExitOK {
		t.Errorf("the worker ended with %d", code)
	}
	for line := range strings.Lines(worker.stderr()) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("the worker's log is not JSON: %s", line)
		}
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	called, release := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	url := target(t, func(http.ResponseWriter, *http.Request) {
		if once.CompareAndSwap(false, true) {
			close(called)
		}
		<-release
	})
	defer close(release)
	s.apply(url)
	worker := s.worker()
	s.extsync("push", "appointment_calendar", "k", "1", "--data", "{}").ok(t)
	<-called // the worker has a call in flight that it would wait for
	testkit.Eventually(t, "the worker ends", func() bool {
		worker.signal(t, os.Interrupt)
		select {
		case <-worker.done:
			return true
		default:
			return false
		}
	})
	if code := worker.wait(t); code != cli.ExitInterrupted {
		t.Errorf("exit code %d, want %d", code, cli.ExitInterrupted)
	}
}

// Right after its outcome the guard knows a key in mode every, too: the right base is
// taken, and another version or other content is refused.
func TestGuardKnowsAHeadRightAfterItsOutcome(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.extsync("channels", "apply", "-f", s.file("every.yaml",
		"channels: [{name: ev, mode: every, connector: {kind: http, config: {url: '"+target(t, func(http.ResponseWriter, *http.Request) {})+"', allow_cidrs: [127.0.0.0/8]}}}]")).ok(t)
	s.worker()
	s.extsync("push", "ev", "k", "1", "--data", `{"v":1}`, "--wait", "20s").ok(t)
	for v := 2; v <= 6; v++ {
		refused(t, s.extsync("push", "ev", "k", fmt.Sprint(v-1), "--data", `{"v":"other"}`), cli.ExitRefused, "exists with other content")
		s.extsync("push", "ev", "k", fmt.Sprint(v), "--base", fmt.Sprint(v-1), "--data", fmt.Sprintf(`{"v":%d}`, v), "--wait", "20s").ok(t)
	}
	refused(t, s.extsync("push", "ev", "k", "3", "--data", `{"v":3}`), cli.ExitRefused, "older")
}
