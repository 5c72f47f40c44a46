package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

type arrivedDoc struct {
	importDoc
	Arrived struct {
		Keys, Delivered, Filtered, Superseded, Failed, Open int64
		Failures                                            []struct{ Key, Version, Outcome, Code string }
		Waiting                                             string
		Why                                                 *struct{ Code string }
	}
}

// chosen applies a channel that filters and maps, to a target that refuses what says no.
func (s *site) chosen() {
	s.t.Helper()
	url := target(s.t, func(w http.ResponseWriter, r *http.Request) {
		if data, _ := io.ReadAll(r.Body); strings.Contains(string(data), `"no"`) {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
	s.extsync("channels", "apply", "-f", s.file("chosen.yaml", fmt.Sprintf(`
channels:
  - name: chosen
    filter: .secret != true
    mapping: 'if .bad then error("no thanks") else {v: .v} end'
    connector: {kind: http, config: {url: %q, allow_cidrs: [127.0.0.0/8]}}
`, url))).ok(s.t)
}

// some are the lines of 3 keys more than n: one that is filtered, one that cannot be mapped,
// and one that the target refuses.
func some(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `{"key":"k%d","version":2,"payload":{"v":%d}}`+"\n", i, i)
	}
	text.WriteString(`{"key":"secret","version":2,"payload":{"secret":true}}` + "\n")
	text.WriteString(`{"key":"bad","version":2,"payload":{"bad":true}}` + "\n")
	text.WriteString(`{"key":"refused","version":2,"payload":{"v":"no"}}` + "\n")
	return text.String()
}

// A dry run says what the import then does, and leaves nothing behind.
func TestImportDryRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.chosen()
	const keys = 1500 // more than one question is about
	s.extsync("push", "chosen", "k1", "9", "--data", `{"v":"newer"}`).ok(t)
	s.extsync("push", "chosen", "k2", "2", "--data", `{"v":2}`).ok(t)
	s.extsync("push", "chosen", "k3", "2", "--data", `{"v":"other"}`).ok(t)
	large := fmt.Sprintf(`{"key":"large","version":1,"payload":%q}`, strings.Repeat("x", 2<<20))
	input := s.file("in.ndjson", some(keys)+strings.Join([]string{
		"no update",
		`{"key":"k0","version":3,"payload":{"v":0}}`, // newer than its line above
		`{"key":"k0","version":2,"payload":{"v":0}}`,
		`{"key":"k4","version":2,"payload":{"v":"other"}}`,
		`{"key":"k5","version":"2024-05-01T12:00:00Z","payload":{}}`,
		large, "",
	}, "\n"))
	type dryDoc struct {
		importDoc
		DryRun            bool `json:"dry_run"`
		Filtered, Failing int64
		First             []struct {
			Line   int64
			Reason string
		}
	}
	var doc dryDoc
	e := s.extsync("import", "chosen", input, "--dry-run", "--json").run(t)
	decodeJSON(t, e.out, &doc)
	if e.code != cli.ExitRejected || !doc.DryRun || doc.Stored != keys+3-3+1 || doc.Duplicates != 1 || doc.Stale != 2 || doc.Rejected != 5 || doc.Filtered != 1 || doc.Failing != 1 {
		t.Errorf("code %d, %+v\n%s", e.code, doc, e.err)
	}
	for i, want := range []struct {
		line int64
		says string
	}{
		{4, "conflict"}, {keys + 2, "given up: mapping"}, {keys + 4, "not an update"}, {keys + 7, "conflict"}, {keys + 8, "kind"}, {keys + 9, "max_payload"},
	} {
		if len(doc.First) != 6 || doc.First[i].Line != want.line || !strings.Contains(doc.First[i].Reason, want.says) {
			t.Errorf("%+v is not line %d, which says %q", doc.First, want.line, want.says)
			break
		}
	}
	files, err := filepath.Glob(input + ".*")
	stream, serr := s.broker.JS.Stream(t.Context(), "SYNC_UPD_chosen")
	testkit.Must(t, err)
	testkit.Must(t, serr)
	if len(files) > 0 || stream.CachedInfo().State.LastSeq != 3 {
		t.Errorf("it left %s, and the stream is at %d", files, stream.CachedInfo().State.LastSeq)
	}
	rejects := filepath.Join(s.dir, "bad")
	if e := s.extsync("import", "chosen", input, "--dry-run", "--rejects", rejects).run(t); e.code != cli.ExitRejected || !strings.Contains(e.err, "lines would be rejected, or fail: 6") {
		t.Errorf("code %d: %s", e.code, e.err)
	}
	if data, err := os.ReadFile(rejects); err != nil || strings.Count(string(data), "\n") != 6 {
		t.Errorf("rejects: %.500s, %v", data, err)
	}

	var done importDoc // a line that fails is stored, and given up later
	e = s.extsync("import", "chosen", input, "--json").run(t)
	decodeJSON(t, e.out, &done)
	if done.Stored != doc.Stored || done.Duplicates != doc.Duplicates || done.Stale != doc.Stale || done.Rejected != doc.Rejected {
		t.Errorf("the dry run said %+v, and the import did %+v", doc, done)
	}
	e = s.extsync("import", "chosen", s.file("good.ndjson", `{"key":"k9","version":3,"payload":{}}`), "--dry-run").run(t)
	if e.code != 0 || !strings.Contains(e.out, "1 would be stored") {
		t.Errorf("code %d: %s%s", e.code, e.out, e.err)
	}
	refused(t, s.extsync("import", "chosen", input, "--dry-run", "--wait"), cli.ExitUsage, "only one of --dry-run, --wait")
	refused(t, s.extsync("import", "chosen", input, "--timeout", "3s"), cli.ExitUsage, "give --wait, too")
	refused(t, s.extsync("import", "nope", input, "--dry-run"), cli.ExitUnknown, "nope")
}

// import --wait ends when every key has an outcome, and tells which.
func TestImportWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.chosen()
	keys := sized(t, "keys", 2000, 50_000)
	s.extsync("push", "chosen", "k1", "9", "--data", `{"v":"newer"}`).ok(t)
	s.extsync("push", "chosen", "k2", "2", "--data", `{"v":2}`).ok(t)
	// The line of a key that is refused last does not count, and that of one that is newer does.
	input := s.file("in.ndjson", some(keys)+`{"key":"k0","version":3,"payload":{"v":0}}`+"\n"+`{"key":"k3","version":2,"payload":{"v":"conflict"}}`+"\n")
	wait := func(args ...string) (e ended, doc arrivedDoc) {
		t.Helper()
		e = s.extsync(append([]string{"import", "chosen", input, "--json", "--wait"}, args...)...).run(t)
		decodeJSON(t, e.out, &doc)
		return e, doc
	}
	e, doc := wait("--timeout", "1s")
	if e.code != cli.ExitNoAck || doc.Arrived.Open != int64(keys)+3 || doc.Arrived.Waiting == "" || doc.Arrived.Why == nil || doc.Arrived.Why.Code != "no_worker" {
		t.Errorf("without a worker: code %d, %+v\n%s", e.code, doc, e.err)
	}
	interrupted := s.extsync("import", "chosen", input, "--wait").start(t)
	testkit.Eventually(t, "it waits", func() bool { return strings.Contains(interrupted.stderr(), "waiting for the outcome of") })
	interrupted.signal(t, syscall.SIGINT)
	if code := interrupted.wait(t); code != cli.ExitInterrupted || !strings.Contains(interrupted.stderr(), "waits for the same keys again") {
		t.Errorf("interrupted: code %d\n%s", code, interrupted.stderr())
	}
	s.worker()
	e, doc = wait("--timeout", "10m")
	a := doc.Arrived
	if e.code != cli.ExitUndelivered || a.Keys != int64(keys)+3 || a.Delivered != int64(keys)-1 || a.Superseded != 1 || a.Filtered != 1 || a.Failed != 2 || a.Open != 0 {
		t.Errorf("code %d, %+v\n%s", e.code, doc, e.err)
	}
	if len(a.Failures) != 2 || a.Failures[0].Key != "bad" || a.Failures[0].Code != "mapping_failed" || a.Failures[1].Key != "refused" || a.Failures[1].Outcome != "dead_lettered" {
		t.Errorf("failures: %+v", a.Failures)
	}
	again, doc := wait()
	if doc.Arrived.Delivered != a.Delivered || doc.Arrived.Failed != 2 || doc.Stored != 0 || again.code != e.code || doc.Rejected != 1 {
		t.Errorf("again: code %d, %+v", again.code, doc)
	}
	good := s.file("good.ndjson", `{"key":"k9","version":3,"payload":{"v":1}}`)
	if out := s.extsync("import", "chosen", good, "--wait").ok(t); !strings.Contains(out, "1 keys: 1 delivered") {
		t.Errorf("%s", out)
	}
}

// A publisher is told one answer to a question, an administrator many: both may ask all that
// an import does.
func TestImportInEachRole(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal,cases")
	url := target(t, func(http.ResponseWriter, *http.Request) {})
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, url))).ok(t)
	worker := g.program(brokerconfig.Worker, "connector-worker", "run").start(t)
	for _, role := range []brokerconfig.Role{brokerconfig.Admin, brokerconfig.Publisher} {
		for _, channel := range []string{"portal", "cases"} {
			input := g.site.file(channel+".ndjson", strings.ReplaceAll(some(200), `:"k`, `:"`+string(role)))
			run := func(args ...string) (doc arrivedDoc) {
				t.Helper()
				g.program(role, "extsync", append([]string{"import", channel, input, "--json"}, args...)...).decode(t, &doc)
				return doc
			}
			if doc := run("--dry-run"); doc.Stored < 200 {
				t.Errorf("%s, %s: a dry run says %+v", role, channel, doc)
			}
			if doc := run("--wait"); doc.Arrived.Delivered != 203 {
				t.Errorf("%s, %s: %+v", role, channel, doc)
			}
			if doc := run("--dry-run", "--restart"); doc.Duplicates != 203 {
				t.Errorf("%s, %s: a dry run of what is there says %+v", role, channel, doc)
			}
		}
	}
	worker.signal(t, syscall.SIGTERM)
	worker.wait(t)
}

// Whoever waits while the broker dies was told that no ack came in time, with exit code 5: it
// is the broker that is away.
func TestWaitingWhileTheBrokerDies(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	push := s.extsync("push", "erp_db", "k", "1", "--data", "{}", "--wait", "6s").start(t)
	imported := s.extsync("import", "erp_db", s.file("in.ndjson", some(1)), "--wait", "--timeout", "6s").start(t)
	testkit.Eventually(t, "both wait", func() bool {
		stream, err := s.broker.JS.Stream(t.Context(), "SYNC_UPD_erp_db")
		return err == nil && stream.CachedInfo().State.LastSeq == 5 && strings.Contains(imported.stderr(), "waiting for the outcome of")
	})
	s.broker.Stop(t)
	for _, p := range []*process{push, imported} {
		if code := p.wait(t); code != cli.ExitBroker || !strings.Contains(p.stderr(), "the connection to the broker is lost") {
			t.Errorf("code %d: %s", code, p.stderr())
		}
	}
}
