package integration

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
)

// empty fails if a program left something in its temporary directory.
func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("left behind: %s", entry.Name())
	}
}

func TestDemo(t *testing.T) {
	tmp := t.TempDir()
	p := program{name: "extsync", args: []string{"demo"}, tmp: tmp}
	out := p.ok(t)
	for _, want := range []string{"p-2023-vax", "stale", "conflict", "duplicate", "superseded", "only 10 was delivered", "409", "what was rolled back", "Summary: all"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not show %q", want)
		}
	}
	if strings.Contains(out, "FAILED") || strings.Contains(out, "\x1b") {
		t.Error("the demo shows a failure, or control codes without a terminal")
	}
	if t.Failed() {
		t.Log(out)
	}
	empty(t, tmp)
}

func TestDemoJSON(t *testing.T) {
	var doc struct {
		OK     bool `json:"ok"`
		Checks []struct {
			Step, Text string
			OK         bool `json:"ok"`
		}
	}
	extsync("demo", "--json").decode(t, &doc)
	if !doc.OK || len(doc.Checks) < 10 {
		t.Errorf("summary: %+v", doc)
	}
	for _, c := range doc.Checks {
		if !c.OK || c.Step == "" || c.Text == "" {
			t.Errorf("check: %+v", c)
		}
	}
}

func TestInterruptedDemoLeavesNothing(t *testing.T) {
	tmp := t.TempDir()
	demo := program{name: "extsync", args: []string{"demo"}, tmp: tmp}.start(t)
	out := bufio.NewReader(demo.stdout)
	for line := ""; !strings.Contains(line, "2. "); { // broker and worker run by now
		var err error
		if line, err = out.ReadString('\n'); err != nil {
			t.Fatalf("the demo ended early: %v\n%s", err, demo.stderr())
		}
	}
	demo.signal(t, os.Interrupt)
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Error(err)
	}
	if code := demo.wait(t); code != cli.ExitInterrupted {
		t.Errorf("exit code %d, want %d\n%s", code, cli.ExitInterrupted, demo.stderr())
	}
	empty(t, tmp)
}

// A reader that goes away ends many programs on the spot.
func TestDemoWithoutAudienceLeavesNothing(t *testing.T) {
	tmp := t.TempDir()
	demo := program{name: "extsync", args: []string{"demo"}, tmp: tmp}.start(t)
	if _, err := demo.stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := demo.stdout.Close(); err != nil {
		t.Fatal(err)
	}
	if code := demo.wait(t); code != cli.ExitOK {
		t.Errorf("exit code %d\n%s", code, demo.stderr())
	}
	empty(t, tmp)
}

type devDoc struct {
	BrokerURL   string `json:"broker_url"`
	APIURL      string `json:"api_url"`
	ReceiverURL string `json:"receiver_url"`
	SQLiteFile  string `json:"sqlite_file"`
	OutboxFile  string `json:"outbox_file"`
}

// startDev starts the development stack and waits until it is ready.
func startDev(t *testing.T, dir string, more ...string) (*process, devDoc) {
	t.Helper()
	dev := extsync(append([]string{"dev", "--json", "--data-dir", dir, "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"}, more...)...).start(t)
	var doc devDoc
	if err := json.NewDecoder(dev.stdout).Decode(&doc); err != nil {
		t.Fatalf("dev: %v\n%s", err, dev.stderr())
	}
	return dev, doc
}

func stop(t *testing.T, p *process) {
	t.Helper()
	p.signal(t, os.Interrupt)
	if code := p.wait(t); code != cli.ExitOK {
		t.Errorf("exit code %d\n%s", code, p.stderr())
	}
}

func TestDevKeepsItsData(t *testing.T) {
	dir := t.TempDir()
	dev, doc := startDev(t, dir)
	push := func(version, content string) program {
		return extsync("push", "appointment_calendar", "p-2023-vax", version, "--data", content, "--wait", "30s", "--nats-url", doc.BrokerURL)
	}
	push("7", `{"content":"x"}`).ok(t)
	if held := get(t, doc.ReceiverURL); !strings.Contains(held, "p-2023-vax") || !strings.Contains(held, `"7"`) {
		t.Errorf("the receiver holds %s", held)
	}
	if found := get(t, doc.APIURL+"/v1/entities/p-2023-vax"); !strings.Contains(found, `"delivered"`) {
		t.Errorf("the HTTP API says %s", found)
	}
	stop(t, dev)
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}

	dev, doc = startDev(t, dir)
	refused(t, push("6", `{"content":"x"}`), cli.ExitRefused, "stale")
	push("8", `{"content":"y"}`).ok(t)
	if held := get(t, doc.ReceiverURL); !strings.Contains(held, `"8"`) {
		t.Errorf("after the restart the receiver holds %s", held)
	}
	e := extsync("dev", "--data-dir", dir, "--listen", "127.0.0.1:0").run(t)
	if e.code != cli.ExitBroker || !strings.Contains(e.err, "--data-dir") {
		t.Errorf("a second one in the same directory: exit code %d\n%s", e.code, e.err)
	}
	stop(t, dev)
}

// Whoever pastes the lines that dev prints sees what they promise: an update that is pushed,
// and one that a platform's own transaction has made, are delivered.
func TestDevSaysWhatToTry(t *testing.T) {
	dev := extsync("dev", "--data-dir", filepath.Join(t.TempDir(), "the data"), "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0").start(t)
	var lines []string
	for out := bufio.NewScanner(dev.stdout); out.Scan() && !strings.HasPrefix(out.Text(), "Ctrl-C"); {
		if command, ok := strings.CutPrefix(out.Text(), "  "); ok {
			lines = append(lines, command)
		}
	}
	if len(lines) != 4 {
		t.Fatalf("it prints %q\n%s", lines, dev.stderr())
	}
	for i, want := range []string{"ack: delivered", "in_sync", "", "delivered"} {
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", lines[i])
		cmd.Env = append(slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "EXTSYNC_") }), "PATH="+filepath.Dir(binary(t, "extsync"))+string(os.PathListSeparator)+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", lines[i], err, out)
		}
	}
	stop(t, dev)
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if cerr := resp.Body.Close(); err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	return string(body)
}
