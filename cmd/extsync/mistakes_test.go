package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
)

var update = flag.Bool("update", false, "write what the commands say to the golden file") //nolint:gochecknoglobals // as flags of tests are

// files are what the commands of the session find in their directory.
func files() map[string]string {
	return map[string]string{
		"channels.yaml": `channels:
  - name: erp_db
    mapping: 'if .bad then error("no thanks") else . end'
    connector: {kind: sql, config: {dialect: sqlite, dsn: erp.db, table: entities, auto_create: true}}
  - {name: archive, mode: every, paused: true, connector: {kind: http, config: {url: "https://archive.example/in"}}}
  - {name: crm, paused: true, connector: {kind: http, config: {url: "https://crm.example/in"}}}
`,
		"topics.yaml": `topics:
  - {name: policies}
  - {name: unread}
channels:
  - name: web
    from: {topic: policies, keys: "p-"}
    connector: {kind: sql, config: {dialect: sqlite, dsn: erp.db, table: web, auto_create: true}}
`,
		"moved.yaml":    "channels:\n  - {name: web, from: {topic: unread}, connector: {kind: http, config: {url: \"https://web.example/in\"}}}\n",
		"nowhere.yaml":  "channels:\n  - {name: late, from: {topic: policy}, connector: {kind: http, config: {url: \"https://late.example/in\"}}}\n",
		"every.yaml":    "channels:\n  - {name: late, mode: every, from: {topic: policies}, connector: {kind: http, config: {url: \"https://late.example/in\"}}}\n",
		"twice.yaml":    "topics:\n  - {name: news}\n  - {name: news}\n",
		"lists.yaml":    "topics:\n  - {name: news}\nchannels: []\ntopics:\n  - {name: old}\n",
		"broken.yaml":   "channels:\n  - name: a\n     kind: http\n",
		"wrong.yaml":    "channels:\n  - name: a\n    timeout: 30\n    partitions: some\n    connector: {kind: htp}\n  - {nam: b}\n",
		"list.yaml":     "channels: erp_db\n",
		"empty.yaml":    "",
		"settings.yaml": "nast: {url: x}\nlog: {level: loud}\n",
		"some.ndjson": `{"key":"a","version":1,"payload":{"content":"x"}}
{"key":"b","version":"x","payload":{}}
{"key":"c","version":1,"op":"delete","payload":{}}
{"key":"d","version":1,"payload":
{"key":"e","versoin":1,"payload":{}}
{"key":5,"version":1,"payload":{}}
`,
	}
}

// An operator makes the mistakes that everybody makes, one after the other, and reads what
// the commands answer: what went wrong, and what to do. testdata/mistakes.txt is the
// session; -update writes it anew.
func TestMistakes(t *testing.T) {
	golden, err := filepath.Abs("testdata/mistakes.txt")
	testkit.Must(t, err)
	want, err := os.ReadFile(golden) //nolint:gosec // of the repository
	testkit.Must(t, err)
	s := newSession(t)
	var got strings.Builder
	mistakes := 0
	for line := range strings.SplitSeq(string(want), "\n") {
		switch {
		case strings.HasPrefix(line, "# "):
			got.WriteString(line + "\n\n")
		case strings.HasPrefix(line, "$ "):
			code := s.play(t, &got, line)
			if code != 0 {
				mistakes++
			}
		}
	}
	session := strings.ReplaceAll(got.String(), strings.Join(kinds.All().Names(), ", "), "KINDS") // a new kind is no other mistake
	if mistakes < 40 {
		t.Errorf("the session has %d mistakes only", mistakes)
	}
	if *update {
		testkit.Must(t, os.WriteFile(golden, []byte(session), 0o600))
		return
	}
	if session != string(want) {
		t.Errorf("the session is another one; see what differs with\n  go test ./cmd/extsync -update && git diff cmd/extsync\n%s", firstDifference(string(want), session))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d: %s\n   want: %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// A session is a directory, a broker and a worker.
type session struct {
	dir, broker string
}

func newSession(t *testing.T) *session {
	t.Helper()
	s := &session{dir: t.TempDir(), broker: natstest.Run(t, natstest.Options{TCP: true}).URL()}
	t.Chdir(s.dir)
	for name, text := range files() {
		testkit.Must(t, os.WriteFile(name, []byte(strings.ReplaceAll(text, "erp.db", filepath.Join(s.dir, "erp.db"))), 0o600))
	}
	cfg := config.Default()
	cfg.NATS.URL = s.broker
	testkit.Must(t, cfg.Allow.Databases.UnmarshalText([]byte(s.dir)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- app.RunWorker(ctx, app.WorkerOptions{Config: cfg, Logger: zerolog.Nop()})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	return s
}

// interrupting cancels when it is read.
type interrupting struct{ cancel context.CancelFunc }

func (r interrupting) Read([]byte) (int, error) {
	r.cancel()
	return 0, context.Canceled
}

// play runs a command and writes it with what it said. A command that ends in ^C is
// interrupted: when it reads its standard input, if it does, else before it begins.
func (s *session) play(t *testing.T, session *strings.Builder, line string) (code int) {
	t.Helper()
	command, interrupted := strings.CutSuffix(line, " ^C")
	args := arguments(strings.ReplaceAll(command, "BROKER", strings.TrimPrefix(s.broker, "nats://")))
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	var out, errOut bytes.Buffer
	sh := &cli.Shell{
		In: strings.NewReader(""), Out: &out, Err: &errOut,
		Environ: []string{"EXTSYNC_NATS_URL=" + s.broker, "EXTSYNC_ALLOW_DATABASES=" + s.dir},
	}
	switch {
	case interrupted && args[len(args)-1] == "-":
		sh.In = interrupting{cancel}
	case interrupted:
		cancel()
	}
	code = sh.Run(ctx, root(sh), args[2:])
	fmt.Fprintln(session, line)
	if out.Len() > 0 {
		fmt.Fprint(session, s.mask(out.String()))
	}
	for text := range strings.Lines(s.mask(errOut.String())) {
		fmt.Fprint(session, "2| "+text)
	}
	fmt.Fprintf(session, "exit code %d\n\n", code)
	return code
}

// mask replaces what is another one in each session.
func (s *session) mask(text string) string {
	text = strings.ReplaceAll(text, s.dir, "/home/op")
	text = strings.ReplaceAll(text, strings.TrimPrefix(s.broker, "nats://"), "BROKER")
	for pattern, mask := range map[string]string{
		`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`: "TIME",
		`"(offset|from)": \d+`:      `"$1": N`,
		`after [0-9.]+(ms|s)\b`:     "after D",
		`worker [A-Za-z0-9_-]{6,};`: "worker W;",
	} {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, mask)
	}
	return text
}

// arguments takes a line apart as a shell does, as far as these lines need it: single quotes
// keep blanks.
func arguments(line string) []string {
	var args []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	return args
}
