package telemetry_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/telemetry"
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
	worker, pubs := telemetry.NewRegistry(), telemetry.NewRegistry()
	telemetry.NewWorkerMetrics(worker)
	telemetry.NewPublisherMetrics(pubs)
	all := described(worker)
	maps.Copy(all, described(pubs))
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
	must(t, err)
	var r rules
	must(t, yaml.Unmarshal(data, &r))
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
	must(t, err)
	runbooks, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	must(t, err)
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

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct {
		RefID string
		Expr  string
	}
	Datasource struct{ Type, UID string }
}

// TestDashboard checks that Grafana's dashboard is whole: the panels do not lie on
// each other, all use the chosen data source, every metric in a query exists, and
// promtool can read every query.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(deploy, "grafana", "dashboard.json"))
	must(t, err)
	var d struct {
		Title, UID    string
		SchemaVersion int
		Panels        []panel
		Templating    struct{ List []struct{ Name, Type string } }
	}
	must(t, json.Unmarshal(data, &d))
	if d.Title == "" || d.UID == "" || d.SchemaVersion == 0 || len(d.Templating.List) != 2 {
		t.Errorf("title %q, uid %q, schema %d, variables %v", d.Title, d.UID, d.SchemaVersion, d.Templating.List)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$channel", ".*")
	var queries []map[string]string
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q, or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q: %d queries of data source %q", p.Title, len(p.Targets), p.Datasource.UID)
		}
		for _, q := range p.Targets {
			expr := variables.Replace(q.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("panel %q: a variable is unknown: %s", p.Title, expr)
			}
			namesExist(t, p.Title, expr)
			queries = append(queries, map[string]string{"record": "dashboard:query", "expr": expr})
		}
	}
	// promtool checks queries as the expressions of rules.
	for i := range queries {
		queries[i]["record"] += ":" + strings.Repeat("x", i+1)
	}
	file := filepath.Join(t.TempDir(), "queries.yml")
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": queries}}})
	must(t, err)
	must(t, os.WriteFile(file, text, 0o600))
	promtool(t, ".", "check", "rules", file)
}
