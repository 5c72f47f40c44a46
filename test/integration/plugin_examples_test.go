package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// suiteReport is what 'extsync connector test --json' tells.
type suiteReport struct {
	Result, Error string
	Cases         []struct {
		Name      string
		Passed    bool
		Errors    []string
		NotTested []string `json:"not_tested"`
	}
}

// failed returns the names of the cases that failed.
func (r suiteReport) failed() (names []string) {
	for _, c := range r.Cases {
		if !c.Passed {
			names = append(names, c.Name)
		}
	}
	return names
}

// interpreter returns the program of a language itself: what finds it by PATH may take
// its time at every start.
func interpreter(t *testing.T, ask ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), ask[0], ask[1:]...).Output()
	testkit.Must(t, err)
	return strings.TrimSpace(string(out))
}

func python(t *testing.T) string {
	t.Helper()
	return interpreter(t, "python3", "-c", "import sys; print(sys.executable)")
}

func node(t *testing.T) string {
	t.Helper()
	return interpreter(t, "node", "-e", "console.log(process.execPath)")
}

func example(t *testing.T, parts ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{"..", "..", "examples", "connector"}, parts...)...))
	testkit.Must(t, err)
	return path
}

// The plugins of the examples pass the suite.
func TestPluginExamplesPassTheSuite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"python": {"--config", fmt.Sprintf("{file: %s/store.db}", dir), "--bad-payload", "{", "--", python(t), example(t, "python", "sqlite_store.py")},
		"node":   {"--config", fmt.Sprintf("{directory: %s}", dir), "--bad-payload", "{", "--", node(t), example(t, "node", "file-store.mjs")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := extsync(append([]string{"connector", "test", "--json"}, args...)...).run(t)
			var report suiteReport
			testkit.Must(t, json.Unmarshal([]byte(e.out), &report))
			if e.code != cli.ExitOK || report.Result != "passed" || len(report.Cases) < 20 {
				t.Errorf("exit code %d, %s %s, failed %q\n%s", e.code, report.Result, report.Error, report.failed(), e.out)
			}
		})
	}
}

// What the guide shows of a plugin is the example's code.
func TestGuideShowsThePlugin(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "writing-a-connector.md"))
	testkit.Must(t, err)
	code, err := os.ReadFile(example(t, "python", "sqlite_store.py"))
	testkit.Must(t, err)
	blocks := strings.Split(string(guide), "```python\n")[1:]
	if len(blocks) < 4 {
		t.Errorf("the guide shows %d blocks of the plugin", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		if !strings.Contains(string(code), block) {
			t.Errorf("this is not in the example:\n%s", block)
		}
	}
}

// A suite that cannot fail proves nothing: flaws of a plugin are found, by the cases that are
// there for them.
func TestConnectorTestFindsFlaws(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(example(t, "python", "sqlite_store.py"))
	testkit.Must(t, err)
	sound := string(text)
	for name, flaw := range map[string]struct{ old, new, found string }{
		"takes anything":         {`" WHERE version < ?2 OR (version = ?2 AND digest = ?3)"`, `""`, "older after newer"},
		"answers in wrong order": {"[read(key) for key in request[\"keys\"]]", "[read(key) for key in reversed(request[\"keys\"])]", "read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			script := filepath.Join(dir, "plugin.py")
			if !strings.Contains(sound, flaw.old) {
				t.Fatalf("the example has no %s", flaw.old)
			}
			testkit.Must(t, os.WriteFile(script, []byte(strings.ReplaceAll(sound, flaw.old, flaw.new)), 0o600))
			e := extsync("connector", "test", "--config", fmt.Sprintf("{file: %s/store.db}", dir), "--", python(t), script).run(t)
			if e.code != cli.ExitFound || !strings.Contains(e.out, "FAIL  "+flaw.found+" (") || strings.Contains(e.out, "capabilities: {") {
				t.Errorf("exit code %d\n%s%s", e.code, e.out, e.err)
			}
		})
	}
}

// What is no plugin is said to be none, and a wrong command line is one.
func TestConnectorTestOfWhatIsNoPlugin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"cat":     {[]string{"--", "/bin/cat"}, cli.ExitFound, "it repeats what it is asked"},
		"true":    {[]string{"--", "/bin/true"}, cli.ExitFound, "ended by itself (exit status 0)"},
		"missing": {[]string{"--", "/missing/program"}, cli.ExitUsage, "/missing/program"},
		"nothing": {nil, cli.ExitUsage, "--url"},
		"both":    {[]string{"--url", "http://127.0.0.1:1/", "--", "/bin/cat"}, cli.ExitUsage, "--url"},
		"nobody":  {[]string{"--url", "http://127.0.0.1:1/"}, cli.ExitFound, "connection refused"},
		"config":  {[]string{"--config", "[", "--", "/bin/cat"}, cli.ExitUsage, "--config: invalid configuration"},
	} {
		e := extsync(append([]string{"connector", "test"}, c.args...)...).run(t)
		if e.code != c.code || !strings.Contains(e.out+e.err, c.says) {
			t.Errorf("%s: exit code %d, want %d and %q\n%s%s", name, e.code, c.code, c.says, e.out, e.err)
		}
	}
}
