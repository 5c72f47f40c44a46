package telemetry_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/telemetry"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// TestMetrics lets updates go every way there is, and looks at every metric.
func TestMetrics(t *testing.T) {
	l := newLab(t, testkit.Patience)
	l.respond(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "bad") {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
	l.channel("cal")
	l.channel("off", func(c *channels.Config) { c.Paused = new(true) })
	if ack := l.request(update("cal", "k", 2)); ack.Outcome != events.Delivered {
		t.Fatalf("ack %+v", ack)
	}
	if ack := l.request(update("cal", "bad", 1)); ack.Outcome != events.DeadLettered {
		t.Fatalf("ack %+v", ack)
	}
	_, _ = l.pub.Publish(t.Context(), update("cal", "k", 2))
	_, _ = l.pub.Publish(t.Context(), update("cal", "k", 1))
	other := update("cal", "k", 2)
	other.Payload = []byte(`{}`)
	_, _ = l.pub.Publish(t.Context(), other)
	_, _ = l.pub.Publish(t.Context(), update("made-up-by-a-client", "k", 1))
	testkit.Must(t, l.metrics.RefreshNow(t.Context(), l.JS, l.names))

	for sample, want := range map[string]float64{
		"extsync_delivery_attempts_total cal ok http":        1,
		"extsync_delivery_attempts_total cal permanent http": 1,
		"extsync_delivery_duration_seconds cal http":         2,
		"extsync_end_to_end_seconds cal":                     2,
		"extsync_outcomes_total cal delivered":               1,
		"extsync_outcomes_total cal dead_lettered":           1,
		"extsync_outcomes_total cal conflict":                0,
		"extsync_version_conflicts_total cal":                0,
		"extsync_dead_letters cal":                           1,
		"extsync_circuit_state cal closed":                   1,
		"extsync_circuit_state cal open":                     0,
		"extsync_entities_behind cal":                        0,
		"extsync_entities cal ok in_sync":                    1,
		"extsync_entities cal dead behind":                   1,
		"extsync_not_newest cal dead_lettered":               1,
		"extsync_oldest_pending_seconds cal":                 0,
		"extsync_shards_owned":                               1,
		"extsync_channels active":                            1,
		"extsync_channels paused":                            1,
		"extsync_broker_connected":                           1,
		"extsync_ready":                                      1,
		"extsync_entities_behind off":                        -1,
	} {
		testkit.Eventually(t, fmt.Sprintf("%s = %v", sample, want), func() bool { return value(t, l.worker, sample) == want })
	}
	for sample, want := range map[string]float64{
		"extsync_updates_published_total cal stored":    2,
		"extsync_updates_published_total cal duplicate": 1,
		"extsync_publishes_refused_total cal stale":     1,
		"extsync_publishes_refused_total cal conflict":  1,
		"extsync_version_conflicts_total cal":           1,
		"extsync_publish_duration_seconds cal":          5,
	} {
		if got := value(t, l.pubs, sample); got != want {
			t.Errorf("%s = %v, want %v", sample, got, want)
		}
	}

	for _, reg := range []*prometheus.Registry{l.worker, l.pubs} {
		rec := httptest.NewRecorder()
		telemetry.MetricsHandler(reg).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		body := rec.Body.String()
		if strings.Contains(body, "made-up") || strings.Contains(body, `"k"`) || strings.Contains(body, "bad") {
			t.Error("a key, or a name that anybody may make up, is a label")
		}
		for _, name := range []string{"extsync_build_info{", "go_goroutines ", "process_resident_memory_bytes "} {
			if !strings.Contains(body, "\n"+name) {
				t.Errorf("%s is missing", name)
			}
		}
		problems, err := promlint.New(strings.NewReader(body)).Lint()
		testkit.Must(t, err)
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// What waits at a target that does not answer is seen.
func TestBacklogIsSeen(t *testing.T) {
	l := newLab(t, testkit.Patience)
	free := make(chan struct{})
	l.respond(func(_ http.ResponseWriter, _ *http.Request) { <-free })
	defer close(free)
	l.channel("cal", func(c *channels.Config) { c.Concurrency, c.Window = 1, 2 })
	const keys = 10
	for i := range keys {
		_, err := l.pub.Publish(t.Context(), update("cal", fmt.Sprintf("k%d", i), 1))
		testkit.Must(t, err)
	}
	testkit.Eventually(t, "all of the backlog", func() bool {
		testkit.Must(t, l.metrics.RefreshNow(t.Context(), l.JS, l.names))
		return value(t, l.worker, "extsync_entities_behind cal") == keys
	})
	if n := value(t, l.worker, "extsync_entities cal ok waiting"); n != keys {
		t.Errorf("%v of %d keys wait", n, keys)
	}
	if age := value(t, l.worker, "extsync_oldest_pending_seconds cal"); age <= 0 {
		t.Errorf("the oldest update is %v s old", age)
	}
	if n := value(t, l.worker, "extsync_calls_in_flight cal"); n != 1 {
		t.Errorf("%v calls in flight", n)
	}
}

// What a relay tells is seen, and nothing of what somebody may have written into a target.
func TestRelayMetrics(t *testing.T) {
	reg := telemetry.NewRegistry()
	problems := []string{"no connection to the broker"}
	m := telemetry.NewRelayMetrics(reg, func() []string { return problems })
	m.Relayed("erp", relay.Published, 3)
	m.Relayed("erp", relay.Published, 2)
	m.Relayed("no such/target", relay.SetAside, 1)
	m.Held("topics/policies", fmt.Errorf("publish: %w", events.ErrUnknownTopic))
	m.Held("crm", errors.New("the database is away"))
	m.Held("web", events.ErrFull)
	m.Held("web", nil)
	m.Stands(map[string]relay.Standing{"gone": {Oldest: 1, Age: time.Hour, Aside: 4}})
	m.Stands(map[string]relay.Standing{"erp": {Oldest: 7, Age: 90 * time.Second}, "crm": {Aside: 2}})
	expect := func(wants map[string]float64) {
		t.Helper()
		for sample, want := range wants {
			if got := value(t, reg, sample); got != want {
				t.Errorf("%s = %v, want %v", sample, got, want)
			}
		}
	}
	expect(map[string]float64{
		"extsync_relay_rows_total published erp":           5,
		"extsync_relay_oldest_seconds erp":                 90,
		"extsync_relay_oldest_seconds crm":                 -1,
		"extsync_relay_oldest_seconds gone":                -1,
		"extsync_relay_set_aside crm":                      2,
		"extsync_relay_set_aside erp":                      -1,
		"extsync_relay_set_aside gone":                     -1,
		"extsync_relay_held unknown_topic topics/policies": 1,
		"extsync_relay_held other crm":                     1,
		"extsync_relay_held full web":                      -1,
		"extsync_relay_ready":                              0,
	})
	problems = nil
	expect(map[string]float64{"extsync_relay_ready": 1})
	rec := httptest.NewRecorder()
	telemetry.MetricsHandler(reg).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	body := rec.Body.String()
	if strings.Contains(body, "no such") || !strings.Contains(body, `extsync_relay_rows_total{result="set_aside",target=""} 1`) {
		t.Errorf("a target that is none:\n%s", body)
	}
	lint, err := promlint.New(strings.NewReader(body)).Lint()
	testkit.Must(t, err)
	for _, p := range lint {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// described returns the names, with their labels, that a registry can have.
func described(reg *prometheus.Registry) map[string]string {
	pattern := regexp.MustCompile(`fqName: "(extsync_[^"]+)".*variableLabels: \{([^}]*)\}`)
	ch := make(chan *prometheus.Desc, 1000)
	reg.Describe(ch)
	close(ch)
	out := map[string]string{}
	for d := range ch {
		if m := pattern.FindStringSubmatch(d.String()); m != nil {
			out[m[1]] = m[2]
		}
	}
	return out
}

// documented returns the names, with their labels, that docs/metrics.md lists
// under a heading.
func documented(t *testing.T, heading string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	testkit.Must(t, err)
	_, section, ok := strings.Cut(string(data), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/metrics.md has no heading %s", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	out := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(extsync_[a-z_]+)` \\| [a-z]+ \\|([^|]*)\\|").FindAllStringSubmatch(section, -1) {
		out[row[1]] = strings.Join(regexp.MustCompile("[a-z_]+").FindAllString(row[2], -1), ",")
	}
	return out
}

func TestDocumentListsEveryMetric(t *testing.T) {
	worker, pubs, relays := telemetry.NewRegistry(), telemetry.NewRegistry(), telemetry.NewRegistry()
	telemetry.NewWorkerMetrics(worker)
	telemetry.NewPublisherMetrics(pubs)
	telemetry.NewRelayMetrics(relays, func() []string { return nil })
	for heading, reg := range map[string]*prometheus.Registry{"Connector-worker": worker, "Publisher": pubs, "Relay": relays} {
		have, listed := described(reg), documented(t, heading)
		delete(have, "extsync_build_info") // of every process; see the end of the document
		if len(have) == 0 {
			t.Fatal("nothing is registered")
		}
		names := map[string]bool{}
		for name := range have {
			names[name] = true
		}
		for name := range listed {
			names[name] = true
		}
		for name := range names {
			labels, is := have[name]
			want, says := listed[name]
			split := func(s string) []string { out := strings.Split(s, ","); slices.Sort(out); return out }
			if is != says || !slices.Equal(split(labels), split(want)) {
				t.Errorf("%s: %s: registered %v with {%s}, documented %v with {%s}", heading, name, is, labels, says, want)
			}
		}
	}
}
