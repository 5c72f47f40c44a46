package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// tell reads lines of a program's standard output until one of them is as wanted.
func (pr *process) tell(t testing.TB, what string, wanted func(line string) bool) {
	t.Helper()
	lines := bufio.NewScanner(pr.stdout)
	found := make(chan struct{})
	go func() {
		for lines.Scan() {
			if wanted(lines.Text()) {
				close(found)
				return
			}
		}
	}()
	testkit.Eventually(t, what, func() bool {
		select {
		case <-found:
			return true
		default:
			return false
		}
	})
}

// What runs until it is interrupted shows what is new, writes no control codes
// where there is no terminal, and ends with exit code 0.
func TestStatusWatchFollowsTheChannels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	watch := s.extsync("status", "--watch", "--interval", "200ms").start(t)
	shown := func(undelivered string) func(string) bool {
		return func(line string) bool {
			if strings.Contains(line, "\x1b") {
				t.Errorf("a control code: %q", line)
			}
			fields := strings.Fields(line)
			return len(fields) > 3 && fields[0] == "erp_db" && fields[3] == undelivered
		}
	}
	watch.tell(t, "nothing waits", shown("0"))
	s.extsync("push", "erp_db", "k", "1", "--data", "{}").ok(t)
	watch.tell(t, "one update waits", shown("1"))
	s.worker()
	watch.tell(t, "it was delivered", shown("0"))
	watch.signal(t, os.Interrupt)
	if code := watch.wait(t); code != cli.ExitOK {
		t.Errorf("exit code %d", code)
	}
	refused(t, s.extsync("status", "--watch", "--interval", "1ms"), cli.ExitUsage, "interval")
}

func TestTailShowsWhatComes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply(target(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }))
	s.worker()
	s.extsync("push", "erp_db", "before", "1", "--data", "{}", "--wait", "30s").ok(t)
	all, failing := s.extsync("tail", "--json").start(t), s.extsync("tail", "--failing").start(t)
	// It says nothing when it begins to listen, so there is something to hear until
	// it does.
	var stop atomic.Bool
	pushed := make(chan struct{})
	go func() {
		defer close(pushed)
		for version := 1; !stop.Load(); version++ {
			for _, channel := range []string{"erp_db", "appointment_calendar"} {
				s.extsync("push", channel, "k", fmt.Sprint(version), "--data", "{}").run(t)
			}
		}
	}()
	defer func() { stop.Store(true); <-pushed }()
	all.tell(t, "an entry of each channel", func() func(string) bool {
		seen := map[string]bool{}
		return func(line string) bool {
			var e struct{ Channel, Key, Outcome, Worker string }
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Key != "k" || e.Outcome == "" || e.Worker == "" {
				t.Errorf("%q: %v", line, err)
			}
			seen[e.Channel] = true
			return len(seen) == 2
		}
	}())
	failing.tell(t, "a dead letter", func(line string) bool {
		if strings.Contains(line, "\x1b") || strings.Contains(line, "erp_db") {
			t.Errorf("what did not fail, or a control code: %q", line)
		}
		return strings.Contains(line, "appointment_calendar k ") && strings.Contains(line, "dead_lettered: permanent: 422")
	})
	for _, p := range []*process{all, failing} {
		p.signal(t, os.Interrupt)
		if code := p.wait(t); code != cli.ExitOK {
			t.Errorf("exit code %d", code)
		}
	}
}

// A dead letter is shown to people with the target's answer and the update, and
// what came from outside cannot steer their terminal.
func TestDeadShowForPeople(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply(target(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte("no such \x1b[31mpatient")) // the client may be gone
	}))
	s.worker()
	s.extsync("push", "appointment_calendar", "k\x1b[2J", "3", "--data", `{"name":"Ada"}`, "--wait", "30s").run(t)
	s.extsync("push", "appointment_calendar", "binary", "1", "--data", "\xff\xfe", "--content-type", "application/octet-stream", "--wait", "30s").run(t)
	testkit.Eventually(t, "both letters", func() bool { return len(s.letters().Entries) == 2 })
	out := s.extsync("dead", "show", fmt.Sprint(s.letters().Entries[0].Sequence), "--payload").ok(t)
	for _, want := range []string{"channel:       appointment_calendar", "version:       3", "state:         open", "outcome:       dead_lettered", "422", "attempts:      1", `{"name":"Ada"}`} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(out, "\x1b") || t.Failed() {
		t.Errorf("dead show:\n%q", out)
	}
	second := fmt.Sprint(s.letters().Entries[1].Sequence)
	if out := s.extsync("dead", "show", second, "--payload").ok(t); !strings.Contains(out, "2 bytes that are no text") {
		t.Errorf("a payload that is no text:\n%s", out)
	}
	var doc struct {
		PayloadBase64 []byte `json:"payload_base64"`
		Header        map[string][]string
	}
	s.extsync("dead", "show", second, "--payload", "--json").decode(t, &doc)
	if string(doc.PayloadBase64) != "\xff\xfe" || len(doc.Header) == 0 {
		t.Errorf("--json: %+v", doc)
	}
}

// In a channel of mode every, versions that are parked have left the channel's
// stream: a key of which nothing was settled yet was said to be unknown.
func TestGetKnowsAKeyWhoseFirstVersionsAreAllParked(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := s.file("channels.yaml", fmt.Sprintf(`
channels:
  - name: cases
    mode: every
    window: 4
    retry: {initial_backoff: 20ms, max_backoff: 100ms, max_attempts: 1000}
    connector: {kind: http, config: {url: %q, allow_cidrs: [127.0.0.0/8]}}
`, target(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("ce-subject"), "slow") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})))
	s.extsync("channels", "apply", "-f", path).ok(t)
	s.worker()
	for version := range 8 {
		s.extsync("push", "cases", "slow", fmt.Sprint(version+1), "--data", "{}").ok(t)
	}
	var got getDoc
	testkit.Eventually(t, "the key is parked, and all of it has left the stream", func() bool {
		stream, err := s.broker.JS.Stream(t.Context(), "SYNC_UPD_cases")
		if err != nil {
			t.Fatal(err)
		}
		if stream.CachedInfo().State.Msgs > 0 {
			return false
		}
		e := s.extsync("get", "slow", "--json").run(t)
		if e.code != cli.ExitOK {
			t.Fatalf("get: %+v", e)
		}
		decodeJSON(t, e.out, &got)
		return got.Channels[0].State == "parked"
	})
	if c := got.Channels[0]; c.Newest.Version != "8" || c.Target.Version != "" || c.Error == nil || c.Error.Code != "500" {
		t.Errorf("get: %+v", c)
	}
}

// The development stack can be looked at like a worker.
func TestDevServesItsTelemetry(t *testing.T) {
	dev, _ := startDev(t, t.TempDir(), "--telemetry-listen", "127.0.0.1:0") // the worker can be ready before all is
	url := ""
	testkit.Eventually(t, "the address of the metrics", func() bool {
		for line := range strings.Lines(dev.stderr()) {
			var l struct{ Message, URL string }
			if json.Unmarshal([]byte(line), &l) == nil && l.Message == "metrics can be read" {
				url = l.URL
			}
		}
		return url != ""
	})
	testkit.Eventually(t, "the worker is ready", func() bool { return strings.Contains(get(t, url), "extsync_ready 1") })
	stop(t, dev)
}
