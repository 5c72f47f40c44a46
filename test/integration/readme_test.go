package integration

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A block is a fenced piece of README.md with the comment above it.
type block struct{ how, text string }

var shellBlock = regexp.MustCompile("(?s)(?:<!-- run: ([^>]*) -->\n)?```sh\n(.*?)```")

func readme(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Every command of the README works as it stands there. A block without a
// comment that says how to run it is a failure.
func TestReadmeCommands(t *testing.T) {
	blocks := shellBlock.FindAllStringSubmatch(readme(t), -1)
	if len(blocks) < 7 {
		t.Fatalf("only %d blocks with commands", len(blocks))
	}
	dev := newDev(t)
	broker := newSite(t)
	for _, b := range blocks {
		how, text := b[1], b[2]
		t.Run(strings.SplitN(text, "\n", 2)[0], func(t *testing.T) {
			switch how {
			case "alone":
				shell(t, text, 0)
			case "by CI": // it is what runs this test
				if text != "make test\n" {
					t.Fatalf("CI does not run %q", text)
				}
			case "with dev":
				shell(t, text, 0, dev...)
			case "with dev, exits 4":
				shell(t, text, 4, dev...)
			case "with a broker":
				shell(t, text, 0, broker.env...)
			case "with a broker, until stopped":
				untilStopped(t, text, broker.env...)
			default:
				t.Fatalf("nothing says how to run this block: %q", how)
			}
		})
	}
}

// newDev starts 'extsync dev' and returns the environment of its clients.
func newDev(t *testing.T) []string {
	t.Helper()
	site := &site{t: t, dir: t.TempDir()}
	dev := site.extsync("dev", "--json", "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(site.dir, "data")).start(t)
	var ready struct {
		URL string `json:"broker_url"`
	}
	if err := json.NewDecoder(dev.stdout).Decode(&ready); err != nil {
		t.Fatalf("dev: %v\n%s", err, dev.stderr())
	}
	return []string{"EXTSYNC_NATS_URL=" + ready.URL}
}

func command(ctx context.Context, t *testing.T, text string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(append(os.Environ(), "PATH="+binaries+":"+os.Getenv("PATH")), env...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func shell(t *testing.T, text string, code int, env ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := command(ctx, t, text, env...)
	out, _ := cmd.CombinedOutput() // the exit code says it all
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("exit code %d instead of %d:\n%s", got, code, out)
	}
}

// untilStopped runs a command that goes on until SIGTERM.
func untilStopped(t *testing.T, text string, env ...string) {
	t.Helper()
	cmd := command(t.Context(), t, "exec "+text, env...)
	out := &process{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker to start", func() bool { return strings.Contains(out.stderr(), "worker started") })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v:\n%s", err, out.stderr())
	}
}

// The Go of the README is that of the example, which is compiled.
func TestReadmeGo(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "..", "examples", "publish", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(source), "// README:begin\n")
	want, _, ok := strings.Cut(rest, "\n// README:end")
	if !ok || !strings.Contains(readme(t), "```go\n"+want+"```") {
		t.Fatal("README.md and examples/publish/main.go differ")
	}
}

// And it works.
func TestExamplePublish(t *testing.T) {
	dev := newDev(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := command(ctx, t, "go run ./examples/publish", dev...).CombinedOutput()
	if err != nil || string(out) != "delivered\n" {
		t.Fatalf("%v: %s", err, out)
	}
}
