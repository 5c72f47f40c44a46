package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// repository is the root of the repository, from here.
const repository = "../.."

// A block is a fenced block of a Markdown file. plan is what the comment above it
// says after "test:", "" if there is none.
type block struct {
	at, language, plan, text string
}

var planPattern = regexp.MustCompile(`^<!-- test: (.+) -->$`)

// blocks returns the fenced blocks of a file in the repository.
func blocks(t *testing.T, name string) []block {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	var out []block
	var open *block
	above := ""
	for i, line := range strings.Split(string(data), "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case open != nil && line == "```":
			out, open = append(out, *open), nil
		case open != nil:
			open.text += line + "\n"
		case fence:
			open = &block{at: fmt.Sprintf("%s:%d", name, i+1), language: language}
			if m := planPattern.FindStringSubmatch(above); m != nil {
				open.plan = m[1]
			}
		case strings.Contains(line, "```"):
			t.Fatalf("%s:%d: a block that is indented would not be run", name, i+1)
		}
		above = line
	}
	if open != nil {
		t.Fatalf("%s: the block is not closed", open.at)
	}
	return out
}

// A reader is somebody who follows the README from top to bottom.
type reader struct {
	t        *testing.T
	bin, dir string // where the README installs programs, and where it is followed
	broker   string // address of the stack that the README has started
	services []*process
	env      []string // besides the developer's
}

// Every command of the README is run, in the order of the README. A block without
// a plan is run in the repository; one with "stack" after the stack was started,
// in a directory of its own; "service until TEXT" is started, and keeps running
// once it has said TEXT; "file NAME" is written; those with "compose" need an engine
// for containers, and are run by scripts/compose-test.sh.
func TestREADME(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("make"); err != nil {
		t.Fatal("install make: the README uses it")
	}
	r := &reader{t: t, bin: t.TempDir(), dir: t.TempDir()}
	commands := ""
	for _, b := range blocks(t, "README.md") {
		if b.language == "sh" {
			commands += b.text
		}
		// What comes later needs what was before.
		if !t.Run(strings.ReplaceAll(b.at, "/", "_"), func(t *testing.T) { r.follow(t, b) }) {
			t.FailNow()
		}
	}
	for _, want := range []string{"go run ./cmd/extsync demo\n", "make test\n", "extsync push", "extsync get", "connector-worker run\n"} {
		if !strings.Contains(commands, want) {
			t.Errorf("the README does not show %q", want)
		}
	}
	for _, service := range slices.Backward(r.services) {
		service.signal(t, syscall.SIGTERM)
		if code := service.wait(t); code != cli.ExitOK {
			t.Errorf("exit code %d\n%s", code, service.stderr())
		}
	}
}

func (r *reader) follow(t *testing.T, b block) {
	plan, argument, _ := strings.Cut(b.plan, " ")
	switch {
	case b.language == "sh" && plan == "":
		// make would run this very test: it only says what it would do.
		r.run(t, repository, "sh", "-euc", `make() { command make --dry-run "$@"; }`+"\n"+b.text)
	case b.language == "sh" && plan == "stack":
		r.needStack(t)
		r.run(t, r.dir, "sh", "-euc", b.text)
	case b.language == "sh" && plan == "service":
		r.serve(t, b, strings.Trim(strings.TrimPrefix(argument, "until "), `"`))
	case b.language == "go" && plan == "stack":
		r.needStack(t)
		path := filepath.Join(t.TempDir(), "main.go")
		if strings.Count(b.text, "\n") >= 20 {
			t.Errorf("%s: the program is not short", b.at)
		}
		// The stack has another port than the usual one, which may be taken.
		text := strings.ReplaceAll(b.text, "nats://127.0.0.1:4222", r.broker)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := r.run(t, repository, "sh", "-c", `go run "$1" 2>&1`, "sh", path); !strings.HasSuffix(out, " delivered <nil>\n") {
			t.Errorf("the program says %q", out)
		}
	case plan == "file" && argument == filepath.Base(argument):
		if err := os.WriteFile(filepath.Join(r.dir, argument), []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
	case b.language == "sh" && plan == "compose": // scripts/compose-test.sh runs it
	case b.language == "text" && plan == "": // nothing to run
	default:
		t.Fatalf("%s: nobody knows how to run a block of language %q with the plan %q", b.at, b.language, b.plan)
	}
}

func (r *reader) needStack(t *testing.T) {
	t.Helper()
	if r.broker == "" {
		t.Fatal("the README has not started a stack yet")
	}
}

// environment is that of the developer, without what is set for this project.
func (r *reader) environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "EXTSYNC_") || strings.HasPrefix(entry, "MAKE") || strings.HasPrefix(entry, "MFLAGS=")
	})
	env = append(env, "CGO_ENABLED=0", "GOBIN="+r.bin, "PATH="+r.bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	if r.broker != "" {
		env = append(env, "EXTSYNC_NATS_URL="+r.broker, "NATS_URL="+r.broker)
	}
	return append(env, r.env...)
}

// run runs a command that must succeed and returns its standard output.
func (r *reader) run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*testkit.Patience) // the compiler may have to work
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, r.environment(), 5*time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, &out, &errOut)
	}
	t.Logf("%s%s", &out, &errOut)
	return out.String()
}

var brokerPattern = regexp.MustCompile(`(?m)^broker: +(nats://\S+)$`)

// serve starts the one command of a block and waits until it has said a text.
func (r *reader) serve(t *testing.T, b block, until string) {
	t.Helper()
	if strings.Count(b.text, "\n") != 1 || until == "" {
		t.Fatalf("%s: a service is one command, with the text that it says when it is ready", b.at)
	}
	// The usual port may be taken, by a stack that the developer is running.
	command := strings.Replace(b.text, "extsync dev", "extsync dev --listen 127.0.0.1:0", 1)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+command)
	cmd.Dir, cmd.Env, cmd.WaitDelay = r.dir, r.environment(), 5*time.Second
	service := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = service, service
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(service.done)
		_ = cmd.Wait() // the exit code tells
	}()
	r.t.Cleanup(func() { cancel(); <-service.done })
	r.services = append(r.services, service)
	testkit.Eventually(t, command+"says "+until, func() bool {
		select {
		case <-service.done:
			t.Fatalf("it has ended:\n%s", service.stderr())
		default:
		}
		return strings.Contains(service.stderr(), until)
	})
	if m := brokerPattern.FindStringSubmatch(service.stderr()); m != nil {
		r.broker = m[1]
	}
}

// The documentation names tests, files and other documents: all of them exist.
func TestDocumentsNameWhatExists(t *testing.T) {
	tests := testNames(t)
	documents, err := filepath.Glob(filepath.Join(repository, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob(filepath.Join(repository, "docs", "adr", "*.md"))
	if err != nil || len(documents) < 3 || len(records) == 0 {
		t.Fatalf("found %v and %v, %v", documents, records, err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	path := regexp.MustCompile("`((?:pkg|internal|cmd|test|docs|examples|scripts)/[A-Za-z0-9_./-]+)`")
	test := regexp.MustCompile("`((?:Test|Fuzz|Example)[A-Z][A-Za-z0-9]*)`")
	for _, document := range append(append(documents, records...), filepath.Join(repository, "README.md")) {
		data, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), m[1])); err != nil {
				t.Errorf("%s: link: %v", document, err)
			}
		}
		for _, m := range path.FindAllStringSubmatch(string(data), -1) {
			if _, err := os.Stat(filepath.Join(repository, m[1])); err != nil {
				t.Errorf("%s: path: %v", document, err)
			}
		}
		for _, m := range test.FindAllStringSubmatch(string(data), -1) {
			if !tests[m[1]] {
				t.Errorf("%s: there is no test %s", document, m[1])
			}
		}
	}
}

// testNames returns the names of all tests in the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)[A-Za-z0-9_]*)\(`)
	names := map[string]bool{}
	err := filepath.WalkDir(repository, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range declaration.FindAllStringSubmatch(string(data), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
