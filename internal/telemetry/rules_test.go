package telemetry_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/telemetry"
	"github.com/hms-utl/extsync/internal/testkit"
)

const deploy = "../../deploy"

// promtool runs Prometheus's own checker.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing: install Debian's package prometheus, or run scripts/test-deps.sh")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// metricNames returns what a scrape of our processes can hold, with the series
// of histograms.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	worker, pubs, relays := telemetry.NewRegistry(), telemetry.NewRegistry(), telemetry.NewRegistry()
	telemetry.NewWorkerMetrics(worker)
	telemetry.NewPublisherMetrics(pubs)
	telemetry.NewRelayMetrics(relays, func() []string { return nil })
	all := described(worker)
	maps.Copy(all, described(pubs))
	maps.Copy(all, described(relays))
	out := map[string]bool{}
	for name := range all {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			out[name+suffix] = true
		}
	}
	for name := range gather(t, worker) { // go_ and process_
		out[name] = true
	}
	return out
}

// namesExist complains about metrics that nobody has.
func namesExist(t *testing.T, where, expr string) {
	t.Helper()
	found := regexp.MustCompile(`\b(extsync|go|process|promhttp)_[a-z_]+`).FindAllString(expr, -1)
	if len(found) == 0 {
		t.Errorf("%s: %q names no metric", where, expr)
	}
	have := metricNames(t)
	for _, name := range found {
		if !have[name] {
			t.Errorf("%s: there is no metric %s", where, name)
		}
	}
}

type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Record, Expr string
			Annotations         map[string]string
			Labels              map[string]string
		}
	}
}

func readRules(t *testing.T) rules {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(deploy, "prometheus", "alerts.yml"))
	testkit.Must(t, err)
	var r rules
	testkit.Must(t, yaml.Unmarshal(data, &r))
	return r
}

// TestAlertRules runs the rules' own tests, deploy/prometheus/alerts_test.yml, by
// promtool: each alert fires in the state that it is for, and stays silent in a
// healthy one. Besides, every metric in a rule exists, and every alert is tested
// and has a runbook.
func TestAlertRules(t *testing.T) {
	dir := filepath.Join(deploy, "prometheus")
	promtool(t, dir, "check", "rules", "alerts.yml")
	promtool(t, dir, "test", "rules", "alerts_test.yml")
	tests, err := os.ReadFile(filepath.Join(dir, "alerts_test.yml"))
	testkit.Must(t, err)
	runbooks, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	testkit.Must(t, err)
	n := 0
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			n++
			namesExist(t, r.Alert, r.Expr)
			if want := "docs/operations.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
				t.Errorf("%s: its runbook is %q, not %s", r.Alert, r.Annotations["runbook"], want)
			}
			if !strings.Contains(string(runbooks), "\n## "+r.Alert+"\n") {
				t.Errorf("%s: docs/operations.md has no heading of that name", r.Alert)
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s: summary, description or severity is missing", r.Alert)
			}
			fires := `alertname="` + r.Alert + `"`
			if !strings.Contains(string(tests), fires) && !strings.Contains(string(tests), "alertname: "+r.Alert+"\n        exp_alerts:") {
				t.Errorf("%s: no test lets it fire", r.Alert)
			}
		}
	}
	if n == 0 {
		t.Fatal("there are no rules")
	}
}
