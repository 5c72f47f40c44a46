package integration

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	_ "modernc.org/sqlite" // the target's driver

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

type (
	lettersDoc struct {
		Entries []struct {
			Sequence            uint64
			Channel, Key, State string
		} `json:"letters"`
		Next uint64
	}
	statusDoc struct {
		Channels []struct {
			Channel, State, Circuit string
			Undelivered             uint64
			Dead                    uint64  `json:"dead_letters"`
			Oldest                  float64 `json:"oldest_seconds"`
			Workers                 []string
		}
	}
	importDoc struct {
		Stored, Duplicates, Stale, Rejected, Line, From int64
		Rejects                                         string
	}
	auditDoc struct {
		Summary  struct{ Looked, Missing, Behind, Ahead, Different, Extra int64 }
		Findings []struct{ Key, Difference string }
		Repaired int64
	}
	doctorDoc struct {
		Bad      int
		Findings []struct{ Check, Level, Subject, Message, Advice string }
	}
)

// letters returns what dead list selects.
func (s *site) letters(args ...string) (doc lettersDoc) {
	s.t.Helper()
	s.extsync(append([]string{"dead", "list", "--json"}, args...)...).decode(s.t, &doc)
	return doc
}

func TestDeadLetterCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var healed atomic.Bool
	s.apply(target(t, func(w http.ResponseWriter, _ *http.Request) {
		if !healed.Load() {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	s.worker()
	for i := range 4 {
		s.extsync("push", "appointment_calendar", fmt.Sprintf("k%d", i), "1", "--data", `{"secret":"\u001b[31m"}`, "--wait", "30s").run(t)
	}
	testkit.Eventually(t, "four open letters", func() bool { return len(s.letters().Entries) == 4 })
	page := s.letters("--limit", "3")
	if len(page.Entries) != 3 || page.Next == 0 {
		t.Fatalf("page: %+v", page)
	}
	if rest := s.letters("--cursor", fmt.Sprint(page.Next)); len(rest.Entries) != 1 {
		t.Errorf("second page: %+v", rest)
	}
	if other := s.letters("--channel", "erp_db"); len(other.Entries) != 0 || other.Entries == nil {
		t.Errorf("of another channel: %+v", other)
	}
	if table := s.extsync("dead", "list").ok(t); strings.Count(table, "answered 422") != 4 || strings.Contains(table, "\x1b") {
		t.Errorf("list:\n%s", table)
	}
	first := fmt.Sprint(page.Entries[0].Sequence)
	var shown struct {
		Key, Code string
		Payload   json.RawMessage
	}
	s.extsync("dead", "show", first, "--payload", "--json").decode(t, &shown)
	if shown.Key != page.Entries[0].Key || !strings.Contains(string(shown.Payload), "secret") || shown.Code != "422" {
		t.Errorf("show: %+v", shown)
	}
	refused(t, s.extsync("dead", "show", "999999"), cli.ExitUnknown, "999999")
	refused(t, s.extsync("dead", "show", "x"), cli.ExitUsage, "x")
	refused(t, s.extsync("dead", "replay"), cli.ExitUsage, "--all")
	refused(t, s.extsync("dead", "list", "--key", "k0"), cli.ExitUsage, "channel")
	refused(t, s.extsync("dead", "replay", "--code", "422"), cli.ExitUsage, "replay 4 dead letters", "--yes")

	s.extsync("dead", "discard", first).ok(t)
	testkit.Eventually(t, "three are left", func() bool { return len(s.letters().Entries) == 3 })
	healed.Store(true)
	var sum struct {
		Job struct {
			Outcomes struct{ Delivered, Failed int }
		}
	}
	s.extsync("dead", "replay", "--code", "422", "--yes", "--json").decode(t, &sum)
	if sum.Job.Outcomes.Delivered != 3 || sum.Job.Outcomes.Failed != 0 {
		t.Errorf("replay: %+v", sum)
	}
	s.extsync("wait", "appointment_calendar", page.Entries[1].Key+"@1").ok(t)
	testkit.Eventually(t, "none is left", func() bool { return len(s.letters().Entries) == 0 })
}

func TestChannelLifecycleCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	state := func(name string) string {
		var doc statusDoc
		s.extsync("status", name, "--json", "--interval", "200ms").decode(t, &doc)
		return doc.Channels[0].State
	}
	for range 2 { // repeating is harmless
		s.extsync("channels", "pause", "erp_db").ok(t)
	}
	if got := state("erp_db"); got != "paused" {
		t.Errorf("paused: %s", got)
	}
	s.extsync("channels", "resume", "erp_db").ok(t)
	s.extsync("push", "erp_db", "k", "1", "--data", "{}").ok(t)
	refused(t, s.extsync("channels", "delete", "erp_db"), cli.ExitUsage, "1 undelivered", "--yes")
	if got := state("erp_db"); got != "active" && got != "stalled" { // there is no worker
		t.Errorf("not confirmed: %s", got)
	}
	var deleted struct{ Undelivered int }
	s.extsync("channels", "delete", "erp_db", "--yes", "--json").decode(t, &deleted)
	if deleted.Undelivered != 1 || state("erp_db") != "deleted" {
		t.Errorf("deleted: %+v, %s", deleted, state("erp_db"))
	}
	refused(t, s.extsync("push", "erp_db", "k", "2", "--data", "{}"), cli.ExitRefused, "deleted", "channels restore")
	refused(t, s.extsync("import", "erp_db", s.file("in.ndjson", ""), "--dry-run"), cli.ExitRefused, "deleted")
	s.extsync("channels", "restore", "erp_db").ok(t)
	s.extsync("push", "erp_db", "k", "2", "--data", "{}").ok(t)
	refused(t, s.extsync("channels", "pause", "nope"), cli.ExitUnknown, "nope")

	s.extsync("channels", "clone", "erp_db", "erp_two").ok(t)
	if got := state("erp_two"); got != "paused" {
		t.Errorf("clone: %s", got)
	}
	s.extsync("channels", "clone", "erp_db", "erp_two").run(t)
	names := s.extsync("__complete", "push", "").ok(t)
	for _, name := range []string{"appointment_calendar", "erp_db", "erp_two"} {
		if !strings.Contains(names, name) {
			t.Errorf("completion does not know %s:\n%s", name, names)
		}
	}
}

func TestPlanAndApplyOfADirectory(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := filepath.Join(s.dir, "channels.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.yaml", "channels: [{name: a, connector: {kind: http, config: {url: 'https://a.example/x'}}}]")
	write("b.yml", "channels: [{name: b, connector: {kind: http, config: {url: 'https://b.example/x'}}}]")
	write("ignored.txt", "no channels")
	plan := func() ended { return s.extsync("channels", "plan", "-f", dir).run(t) }
	if e := plan(); e.code != cli.ExitFound || !strings.Contains(e.out, "a: created") || !strings.Contains(e.out, "b: created") || e.err != "" {
		t.Errorf("plan on an empty broker: %+v", e)
	}
	if got := s.changes("-f", dir); len(got.Channels) != 2 {
		t.Errorf("apply: %+v", got)
	}
	if e := plan(); e.code != cli.ExitOK {
		t.Errorf("plan after apply: %+v", e)
	}
	write("b.yml", "channels: [{name: b, retry: {max_attempts: 3}, connector: {kind: http, config: {url: 'https://c.example/x'}}}]")
	e := plan()
	for _, want := range []string{"b: changed", "  retry.max_attempts: 20 -> 3\n", `  connector.config.url: "https://b.example/x" -> "https://c.example/x"`, "a: unchanged"} {
		if e.code != cli.ExitFound || !strings.Contains(e.out, want) {
			t.Errorf("plan, code %d, does not say %q:\n%s", e.code, want, e.out)
		}
	}
	write("c.yaml", "channels: [{name: a, connector: {kind: http, config: {url: 'https://a.example/x'}}}]")
	refused(t, s.extsync("channels", "plan", "-f", dir), cli.ExitUsage, "a.yaml", "c.yaml")
}

// What get says right after an ack has that outcome, whatever the ledger lags.
func TestGetIsNeverBehindTheAck(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	s.worker()
	for version := 1; version <= 5; version++ {
		v := fmt.Sprint(version)
		s.extsync("push", "erp_db", "k", v, "--data", `{"a":1}`, "--wait", "30s").ok(t)
		var got getDoc
		s.extsync("get", "erp_db", "k", "--json").decode(t, &got)
		if c := got.Channels[0]; c.State != "delivered" || c.Target.Version != v {
			t.Fatalf("after the ack of version %s: %+v", v, c)
		}
	}
	if out := s.extsync("get", "k", "--timeline").ok(t); strings.Count(out, " delivered  (") != 5 {
		t.Errorf("timeline:\n%s", out)
	}
	if e := s.extsync("wait", "erp_db", "k@9", "--timeout", "300ms").run(t); e.code != cli.ExitNoAck {
		t.Errorf("wait for what is not there: %+v", e)
	}
	if lines := s.extsync("tail", "erp_db", "--since", "1h", "--count", "5", "--json").ok(t); strings.Count(lines, "\n") != 5 {
		t.Errorf("tail:\n%s", lines)
	}
	live := s.extsync("tail", "--count", "1", "--key", "live").start(t)
	testkit.Eventually(t, "tail shows what comes", func() bool {
		s.extsync("push", "erp_db", "live", fmt.Sprint(1+len(live.stderr())), "--data", "{}").run(t)
		select {
		case <-live.done:
			return true
		default:
			s.extsync("push", "erp_db", "live", "2", "--op", "delete").run(t)
			s.extsync("key", "reset", "erp_db", "live", "--yes").run(t)
			return false
		}
	})
	refused(t, s.extsync("key", "reset", "erp_db", "k"), cli.ExitUsage, "5", "--yes")
	s.extsync("key", "reset", "erp_db", "k", "--yes").ok(t)
	refused(t, s.extsync("get", "erp_db", "k"), cli.ExitUnknown, "k")
	s.extsync("push", "erp_db", "k", "1", "--data", `{"a":2}`).ok(t)
}

func TestImportAndAudit(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	var text strings.Builder
	const keys = 600 // more than a page
	for i := range keys {
		fmt.Fprintf(&text, `{"key":"k%d","version":2,"payload":{"n":%d}}`+"\n", i, i)
	}
	text.WriteString("no update\n")
	s.extsync("push", "erp_db", "k1", "9", "--data", `{"n":"newer"}`).ok(t)
	input := s.file("in.ndjson", text.String())
	run := func(code int, args ...string) (doc importDoc) {
		t.Helper()
		e := s.extsync(append([]string{"import", "erp_db", "--json"}, args...)...).run(t)
		if e.code != code {
			t.Fatalf("import: code %d\n%s%s", e.code, e.out, e.err)
		}
		decodeJSON(t, e.out, &doc)
		return doc
	}
	doc := run(cli.ExitRejected, input)
	if doc.Stored != keys-1 || doc.Stale != 1 || doc.Rejected != 1 || doc.Line != keys+1 {
		t.Errorf("import: %+v", doc)
	}
	rejects, err := os.ReadFile(doc.Rejects)
	if err != nil || !strings.Contains(string(rejects), `"input":"no update"`) || !strings.Contains(string(rejects), fmt.Sprintf(`"line":%d`, keys+1)) {
		t.Errorf("rejects: %s, %v", rejects, err)
	}
	if doc = run(cli.ExitRejected, input); doc.Stored+doc.Duplicates != 0 || doc.From == 0 {
		t.Errorf("again: %+v", doc)
	}
	if doc = run(cli.ExitRejected, input, "--restart"); doc.Stored != 0 || doc.Duplicates != keys-1 {
		t.Errorf("from the beginning: %+v", doc)
	}
	s.file("in.ndjson", text.String()+`{"key":"more","version":1,"payload":1}`+"\n")
	if doc = run(cli.ExitRejected, input); doc.Stored != 1 || doc.Line != keys+2 {
		t.Errorf("after a line was added: %+v", doc)
	}
	refused(t, s.extsync("import", "nope", input), cli.ExitUnknown, "nope")

	var before statusDoc
	s.extsync("status", "erp_db", "--json").decode(t, &before)
	if c := before.Channels[0]; c.Undelivered == 0 || c.Oldest <= 0 {
		t.Errorf("status without a worker: %+v", c)
	}
	s.worker()
	testkit.Eventually(t, "everything is delivered", func() bool {
		var doc statusDoc
		s.extsync("status", "erp_db", "--json", "--interval", "200ms").decode(t, &doc)
		c := doc.Channels[0]
		return c.Undelivered == 0 && c.Oldest == 0 && c.Circuit == "closed" && len(c.Workers) == 1
	})
	s.checkAudit(t)
}

// checkAudit spoils the target in every way and has it repaired.
func (s *site) checkAudit(t *testing.T) {
	t.Helper()
	audit := func(code int, args ...string) (doc auditDoc) {
		t.Helper()
		e := s.extsync(append([]string{"audit", "erp_db", "--json"}, args...)...).run(t)
		if e.code != code {
			t.Fatalf("audit: code %d\n%s%s", e.code, e.out, e.err)
		}
		decodeJSON(t, e.out, &doc)
		return doc
	}
	if doc := audit(cli.ExitOK); doc.Summary.Looked != 601 {
		t.Errorf("audit: %+v", doc)
	}
	db, err := sql.Open("sqlite", filepath.Join(s.dir, "erp.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, statement := range []string{
		"DELETE FROM extsync_erp_db WHERE key = 'k2'",
		"UPDATE extsync_erp_db SET version = 1 WHERE key = 'k3'",
		"UPDATE extsync_erp_db SET version = 7 WHERE key = 'k4'",
		`UPDATE extsync_erp_db SET content = '{"n":"somebody else was here"}' WHERE key = 'k6'`,
		"INSERT INTO extsync_erp_db SELECT 'alien', version, version_nanos, digest, op, content, updated_at FROM extsync_erp_db WHERE key = 'k5'",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	doc := audit(cli.ExitFound)
	if s := doc.Summary; s.Missing != 1 || s.Behind != 1 || s.Ahead != 1 || s.Extra != 1 || s.Different != 1 || len(doc.Findings) != 5 {
		t.Errorf("audit: %+v", doc)
	}
	if e := s.extsync("audit", "erp_db", "--repair").run(t); e.code != cli.ExitUsage || !strings.Contains(e.err, "3 keys") || !strings.Contains(e.out, "k6: version 2 was delivered, and changed at the target in: content") {
		t.Errorf("repair without --yes: %+v", e)
	}
	if doc := audit(cli.ExitFound, "--repair", "--yes"); doc.Repaired != 3 {
		t.Errorf("repair: %+v", doc)
	}
	if doc := audit(cli.ExitFound); doc.Summary.Missing+doc.Summary.Behind+doc.Summary.Different != 0 || doc.Summary.Ahead != 1 || doc.Summary.Extra != 1 {
		t.Errorf("after the repair: %+v", doc)
	}
	refused(t, s.extsync("audit", "appointment_calendar"), cli.ExitRefused, "cannot be read")

	var total struct{ Total int }
	s.extsync("resync", "erp_db", "--key-prefix", "k1", "--dry-run", "--json").decode(t, &total)
	if total.Total != 111 {
		t.Errorf("dry run: %+v", total)
	}
	var done struct {
		State     string
		Delivered int
	}
	s.extsync("resync", "erp_db", "--key", "k5", "--json").decode(t, &done)
	if done.State != "done" || done.Delivered != 1 {
		t.Errorf("resync: %+v", done)
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	doctor := func(code int) (doc doctorDoc) {
		t.Helper()
		e := s.extsync("doctor", "--json").run(t)
		if e.code != code {
			t.Fatalf("doctor: code %d\n%s%s", e.code, e.out, e.err)
		}
		decodeJSON(t, e.out, &doc)
		for _, f := range doc.Findings {
			if (f.Level == "ok") != (f.Advice == "") {
				t.Errorf("finding without advice: %+v", f)
			}
		}
		return doc
	}
	if doc := doctor(cli.ExitFound); !strings.Contains(fmt.Sprint(doc), "SYNC_OUTCOMES is missing") {
		t.Errorf("of an empty broker: %+v", doc)
	}
	s.apply(target(t, func(http.ResponseWriter, *http.Request) {}))
	if doc := doctor(cli.ExitFound); doc.Bad != 1 || !strings.Contains(fmt.Sprint(doc), "no connector-worker is alive") ||
		!strings.Contains(fmt.Sprint(doc), "atomic: the write itself compares versions") {
		t.Errorf("without a worker: %+v", doc)
	}
	worker := s.worker()
	testkit.Eventually(t, "all is well", func() bool { return s.extsync("doctor").run(t).code == cli.ExitOK })
	worker.signal(t, syscall.SIGTERM)
	worker.wait(t)
	if err := os.RemoveAll(filepath.Join(s.dir, "erp.db")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.dir, "erp.db"), 0o700); err != nil {
		t.Fatal(err)
	}
	if doc := doctor(cli.ExitFound); !strings.Contains(fmt.Sprint(doc.Findings), "target problem erp_db") {
		t.Errorf("with a target that is broken: %+v", doc)
	}
}
