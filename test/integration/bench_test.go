package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The benchmark works: its processes start, the targets end as they should, and the
// report says so. Its figures mean nothing at this size.
func TestBenchRuns(t *testing.T) {
	t.Parallel()
	tables := filepath.Join(t.TempDir(), "bench.md")
	out, err := bench(t, "--quick", "--case", "http-every,http-latest,sqlite,publish,import", "--markdown", tables)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"http-every: HTTP", "http-latest: HTTP", "sqlite: SQLite", "publish: PublishAll", "the floor", "ratio", "of the rate"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	written, err := os.ReadFile(tables)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n| case | ", "| **http-every**: ", "broker 0.", "worker 0."} {
		if !strings.Contains(string(written), want) {
			t.Errorf("the tables lack %q:\n%s", want, written)
		}
	}
}

// The measurement of a channel of many keys works: all are imported, delivered and found by
// the audit. Its figures mean nothing at this size.
func TestBenchSizes(t *testing.T) {
	t.Parallel()
	out, err := bench(t, "sizing", "--keys", "1500", "--extsync", binary(t, "extsync"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"| 1,500, sqlite | ", "| 1,500, postgres | ", "/s (us of CPU: audit ", " s |\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	for name, args := range map[string][]string{"no keys": {"--keys", "0"}, "no such target": {"--target", "http"}} {
		if out, err := bench(t, append([]string{"sizing"}, args...)...); err == nil {
			t.Errorf("%s is taken: %s", name, out)
		}
	}
}

// The measurement of topics works: one and two channels, from a topic and from streams of
// their own, and a channel that is added. Its figures mean nothing at this size.
func TestBenchTopics(t *testing.T) {
	t.Parallel()
	out, err := bench(t, "topics", "--channels", "1,2", "--updates", "400", "--keys", "300")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"\n| 1 | ", "\n| 2 | ", "300"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	if out, err := bench(t, "topics", "--channels", "0"); err == nil {
		t.Errorf("no channels are taken: %s", out)
	}
}

// The measurement of kinds works, with the kind that needs no server. Its figures mean nothing
// at this size.
func TestBenchKinds(t *testing.T) {
	t.Parallel()
	out, err := bench(t, "kinds", "--kind", "file", "--rounds", "1", "--time", "1x")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"\n| file | current | 64 calls | **", "\n| file | versions | 64 calls | **"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	for name, args := range map[string][]string{"no rounds": {"--rounds", "0"}, "no such kind": {"--kind", "telepathy"}, "no such time": {"--kind", "file", "--time", "x"}} {
		if out, err := bench(t, append([]string{"kinds"}, args...)...); err == nil {
			t.Errorf("%s is taken: %s", name, out)
		}
	}
}

func TestBenchNamesItsCases(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"no such case": {"--case", "nonsense"}, "no rounds": {"--rounds", "0"}} {
		if out, err := bench(t, args...); err == nil {
			t.Errorf("%s is taken: %s", name, out)
		}
	}
	help, err := bench(t, "--help")
	if err != nil {
		t.Fatal(err)
	}
	wrong, _ := bench(t, "--case", "nonsense")
	for _, text := range []string{help, wrong} {
		if !strings.Contains(text, "http-every") || !strings.Contains(text, "workers-4-long") {
			t.Errorf("the cases are not listed:\n%s", text)
		}
	}
}

// bench builds and runs the benchmark as `go run ./bench` does.
func bench(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append([]string{"run", "./bench"}, args...)...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var all bytes.Buffer
	cmd.Stdout, cmd.Stderr = &all, &all
	err = cmd.Run()
	return all.String(), err
}

// What only tests and the benchmark need is in no program that people run.
func TestProgramsCarryNoTestCode(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/...", "./deploy/...")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	list, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/hms-utl/extsync/"
	deps := strings.Fields(string(list))
	if len(deps) < 100 {
		t.Fatalf("a program with %d packages cannot be ours", len(deps))
	}
	for _, dep := range deps {
		if dep == "testing" || strings.HasPrefix(dep, "testing/") {
			t.Errorf("the programs link %s", dep)
		}
		for _, part := range []string{"bench", "internal/faults", "internal/natsserver/natstest", "internal/testcert", "internal/testdb", "internal/testkit", "pkg/connectors/connectortest"} {
			if dep == module+part || strings.HasPrefix(dep, module+part+"/") {
				t.Errorf("the programs link %s", dep)
			}
		}
	}
}
