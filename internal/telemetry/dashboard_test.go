package telemetry_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/testkit"
)

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct {
		RefID      string
		Expr       string
		Datasource datasource
	}
	Datasource datasource
}

type datasource struct{ Type, UID string }

type variable struct {
	Name, Type string
	Query      any
	Current    struct{ Value any }
}

// TestDashboard checks that Grafana's dashboard is whole: the panels do not lie on
// each other, all use the chosen data source, every metric in a query exists, and
// promtool can read every query.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(deploy, "grafana", "dashboard.json"))
	testkit.Must(t, err)
	var d struct {
		Title, UID    string
		SchemaVersion int
		Panels        []panel
		Templating    struct{ List []variable }
	}
	testkit.Must(t, json.Unmarshal(data, &d))
	if d.Title == "" || d.UID == "" || d.SchemaVersion == 0 || len(d.Templating.List) != 2 {
		t.Errorf("title %q, uid %q, schema %d, variables %v", d.Title, d.UID, d.SchemaVersion, d.Templating.List)
	}
	if v := d.Templating.List[0]; v.Name != "datasource" || v.Type != "datasource" || v.Query != "prometheus" || v.Current.Value != provisioned(t).UID {
		t.Errorf("the data source is chosen by %+v, and provisioned as %+v", v, provisioned(t))
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$channel", ".*")
	var queries []map[string]string
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.ID <= 0 || p.Type == "" || p.Title == "" || p.GridPos.W <= 0 || p.GridPos.H <= 0 {
			t.Errorf("panel %d is not whole: %+v", p.ID, p)
		}
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
		chosen := datasource{"prometheus", "${datasource}"}
		if len(p.Targets) == 0 || p.Datasource != chosen {
			t.Errorf("panel %q: %d queries of data source %q", p.Title, len(p.Targets), p.Datasource)
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if q.RefID == "" || refs[q.RefID] || q.Datasource != chosen {
				t.Errorf("panel %q: query %q of data source %q", p.Title, q.RefID, q.Datasource)
			}
			refs[q.RefID] = true
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
	testkit.Must(t, err)
	testkit.Must(t, os.WriteFile(file, text, 0o600))
	promtool(t, ".", "check", "rules", file)
}

// provisioned returns the data source that compose gives Grafana.
func provisioned(t *testing.T) datasource {
	t.Helper()
	var file struct {
		Datasources []struct {
			Name, UID, Type, URL string
			IsDefault            bool `yaml:"isDefault"`
		}
	}
	readYAML(t, filepath.Join(deploy, "grafana", "provisioning", "datasources", "prometheus.yml"), &file)
	if len(file.Datasources) != 1 || !file.Datasources[0].IsDefault || file.Datasources[0].URL != "http://prometheus:9090" {
		t.Fatalf("data sources: %+v", file)
	}
	return datasource{file.Datasources[0].Type, file.Datasources[0].UID}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	testkit.Must(t, err)
	testkit.Must(t, yaml.Unmarshal(data, into))
}

// TestGrafanaFindsItsFiles checks that compose puts the dashboard where Grafana's
// provisioning looks for it, and where its home page is; and that Prometheus gets
// its rules.
func TestGrafanaFindsItsFiles(t *testing.T) {
	root := filepath.Join("..", "..")
	var compose struct {
		Services map[string]struct {
			Image       string
			Volumes     []string
			Profiles    []string
			Environment map[string]string
		}
	}
	readYAML(t, filepath.Join(root, "docker-compose.yml"), &compose)
	mounted := map[string]string{} // path in the container, to that in the repository
	for _, service := range []string{"grafana", "prometheus"} {
		for _, v := range compose.Services[service].Volumes {
			parts := strings.Split(v, ":")
			if !strings.HasPrefix(parts[0], ".") {
				continue
			}
			mounted[parts[1]] = parts[0]
			if _, err := os.Stat(filepath.Join(root, parts[0])); err != nil {
				t.Errorf("%s: %v", service, err)
			}
		}
	}
	grafana := compose.Services["grafana"]
	if len(grafana.Profiles) != 1 || grafana.Profiles[0] != "grafana" || !regexp.MustCompile(`^grafana/grafana:\d+\.\d+\.\d+$`).MatchString(grafana.Image) {
		t.Errorf("grafana: %+v", grafana)
	}
	home := grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if mounted[home] != "./deploy/grafana/dashboard.json" || mounted["/etc/grafana/provisioning"] != "./deploy/grafana/provisioning" {
		t.Errorf("home %q; files %v", home, mounted)
	}
	var dashboards struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	readYAML(t, filepath.Join(deploy, "grafana", "provisioning", "dashboards", "extsync.yml"), &dashboards)
	if len(dashboards.Providers) != 1 || dashboards.Providers[0].Type != "file" || dashboards.Providers[0].Options.Path != filepath.Dir(home) {
		t.Errorf("dashboards: %+v", dashboards)
	}
	var scrape struct {
		RuleFiles []string `yaml:"rule_files"`
	}
	readYAML(t, filepath.Join(deploy, "compose", "prometheus.yml"), &scrape)
	if len(scrape.RuleFiles) != 1 || mounted[scrape.RuleFiles[0]] != "./deploy/prometheus/alerts.yml" {
		t.Errorf("rule files %v of %v", scrape.RuleFiles, mounted)
	}
}
