package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
)

// A program is one of ours with what surrounds it. The zero values of all but
// name suit most tests.
type program struct {
	name string
	args []string
	env  []string // besides the few that every program gets
	in   string   // standard input
	tmp  string   // its TMPDIR; zero: one of its own
}

// ended is what a program left.
type ended struct {
	code     int
	out, err string
}

func extsync(args ...string) program { return program{name: "extsync", args: args} }

func (p program) command(ctx context.Context, t testing.TB) *exec.Cmd {
	t.Helper()
	if p.tmp == "" {
		p.tmp = t.TempDir()
	}
	cmd := exec.CommandContext(ctx, binary(t, p.name), p.args...)
	// Nothing of the developer's own configuration may reach the program.
	cmd.Env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.tmp, "TMPDIR=" + p.tmp}, faults.AllowHere(), p.env)
	cmd.Stdin = strings.NewReader(p.in)
	cmd.Dir = p.tmp
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run runs a program to its end.
func (p program) run(t testing.TB) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	cmd := p.command(ctx, t)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %q: %v", p.name, p.args, err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %q did not end in %s\n%s%s", p.name, p.args, testkit.Patience, &out, &errOut)
	}
	return ended{code: cmd.ProcessState.ExitCode(), out: out.String(), err: errOut.String()}
}

// ok runs a program that must succeed, and returns its standard output.
func (p program) ok(t testing.TB) string {
	t.Helper()
	e := p.run(t)
	if e.code != 0 {
		t.Fatalf("%s %q: exit code %d\n%s%s", p.name, p.args, e.code, e.out, e.err)
	}
	return e.out
}

// decode runs a program that must succeed and reads its JSON document.
func (p program) decode(t testing.TB, into any) {
	t.Helper()
	decodeJSON(t, p.ok(t), into)
}

func decodeJSON(t testing.TB, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("not one JSON document: %v\n%s", err, text)
	}
}

// A process is a program that is still running.
type process struct {
	cmd    *exec.Cmd
	stdout io.ReadCloser
	done   chan struct{} // closed when it has ended

	mu  sync.Mutex
	log bytes.Buffer // standard error
}

// start starts a program. The test ends it if nothing else does.
func (p program) start(t testing.TB) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	pr := &process{cmd: p.command(ctx, t), done: make(chan struct{})}
	pr.cmd.Stderr = pr
	// A pipe of our own: the one of exec is closed at the program's end, read to
	// its end or not.
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	pr.stdout, pr.cmd.Stdout = out, in
	if err := pr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close() // the program has its own
	go func() {
		defer close(pr.done)
		_ = pr.cmd.Wait() // the exit code tells
	}()
	t.Cleanup(func() {
		cancel()
		<-pr.done
		_ = out.Close() // a test may have closed it
		if t.Failed() {
			t.Logf("standard error of %s:\n%s", p.name, pr.stderr())
		}
	})
	return pr
}

// Write takes standard error.
func (pr *process) Write(b []byte) (int, error) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	return pr.log.Write(b)
}

func (pr *process) stderr() string {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	return pr.log.String()
}

func (pr *process) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := pr.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// wait waits for the end and returns the exit code.
func (pr *process) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-pr.done:
		return pr.cmd.ProcessState.ExitCode()
	case <-time.After(testkit.Patience):
		t.Fatalf("the program did not end in %s\n%s", testkit.Patience, pr.stderr())
		return 0
	}
}
