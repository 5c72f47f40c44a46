package integration

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/telemetry"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A lookedAt is a worker process with everything that operators look at.
type lookedAt struct {
	*faults.Process
	t                 testing.TB
	metrics, profiles string // URLs
}

// lookAt starts a worker that listens on free ports.
func (r *rig) lookAt(name string, env ...string) *lookedAt {
	r.t.Helper()
	p := &lookedAt{t: r.t, Process: r.crew.Start(r.t, faults.Spec{
		Name: name, Path: binary(r.t, "connector-worker"),
		Args: []string{"run", "--telemetry-listen=127.0.0.1:0", "--telemetry-pprof=127.0.0.1:0", "--worker-stall-after=1s"},
		Env: append(env, "EXTSYNC_NATS_URL="+r.url, faults.WorkerVariable+"="+name, "EXTSYNC_LOG_LEVEL=debug", "EXTSYNC_LOG_FORMAT=json",
			"EXTSYNC_WORKER_LEASE_TTL="+r.lease.String(), "EXTSYNC_WORKER_DRAIN_TIMEOUT=1s"),
	})}
	r.workers = append(r.workers, p.Process)
	testkit.Eventually(r.t, "the worker's addresses", func() bool {
		p.metrics, p.profiles = p.logged("metrics can be read", "url"), p.logged("profiles can be read", "url")
		return p.metrics != "" && p.profiles != ""
	})
	return p
}

// logged returns a field of the last log line with a message, "" if there is
// none.
func (p *lookedAt) logged(message, field string) string {
	out := ""
	for _, line := range p.lines(message) {
		out, _ = line[field].(string)
	}
	return out
}

// lines returns the log lines with a message.
func (p *lookedAt) lines(message string) []map[string]any {
	var out []map[string]any
	for text := range strings.Lines(p.Log()) {
		var line map[string]any
		if json.Unmarshal([]byte(text), &line) == nil && line["message"] == message {
			out = append(out, line)
		}
	}
	return out
}

// get asks the worker, "" and 0 if it does not answer.
func (p *lookedAt) get(url string) (status int, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// readyz waits until the worker is ready, or not ready for a reason.
func (p *lookedAt) readyz(why string) {
	p.t.Helper()
	testkit.Eventually(p.t, "/readyz: "+why, func() bool {
		status, body := p.get(strings.Replace(p.metrics, "/metrics", "/readyz", 1))
		return why == "" && status == http.StatusOK || why != "" && status == http.StatusServiceUnavailable && strings.Contains(body, why)
	})
}

// A worker whose deliveries are frozen by a target that hangs says that it is not
// ready, and why; so does one whose broker is away. Both come back, and the
// process counts as alive all the while.
func TestReadinessOfAFrozenWorker(t *testing.T) {
	t.Parallel()
	b := natstest.Run(t, natstest.Options{TCP: true})
	r := newRigAt(t, faults.NewCrew(t), b.URL(), 1)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("erp", channels.Latest, "http", tg.Connector())
	w := r.lookAt("w1")
	w.readyz("")
	release := tg.Hold("")
	defer release()
	u := events.Update{Channel: "erp", Key: "k", Version: versioning.Must(versioning.Number(1)), Payload: []byte(`{}`)}
	_, err := r.pub.Publish(t.Context(), u)
	r.must(err)
	w.readyz("channel erp: 1 updates held, 1 calls in flight")
	if status, _ := w.get(strings.Replace(w.metrics, "/metrics", "/healthz", 1)); status != http.StatusOK {
		t.Errorf("/healthz: %d", status)
	}
	if status, body := w.get(w.profiles + "goroutine?debug=1"); status != http.StatusOK || !strings.Contains(body, "goroutine profile:") {
		t.Errorf("profile: %d", status)
	}
	release()
	w.readyz("")
	b.Stop(t)
	w.readyz("no connection to the broker")
	b.Start(t)
	w.readyz("")
	if status, body := w.get(w.metrics); status != http.StatusOK || !strings.Contains(body, `extsync_outcomes_total{channel="erp",outcome="delivered"} 1`) {
		t.Errorf("/metrics: %d\n%s", status, body)
	}
}

// A collector of traces, as OTLP has it.
type traces struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*tracepb.Span
}

func newTraces(t *testing.T) *traces {
	c := &traces{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &in)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "not traces", http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, res := range in.GetResourceSpans() {
			for _, scope := range res.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *traces) named(name string) []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*tracepb.Span
	for _, s := range c.spans {
		if s.GetName() == name {
			out = append(out, s)
		}
	}
	return out
}

// One trace leads from the publish in this process over the attempts in the
// worker's, one of which failed, to the ack, and into the target. Each attempt is
// one line in the worker's log, with all that there is to know.
func TestOneTraceAcrossProcesses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	spans := newTraces(t)
	var mu sync.Mutex
	var told []string
	tg := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if told = append(told, req.Header.Get("traceparent")); len(told) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer tg.Close()
	r.channel("erp", channels.Latest, "http", map[string]any{"url": tg.URL + "/{key}", "allow_cidrs": []string{"127.0.0.0/8"}},
		func(c *channels.Config) { c.Retry.InitialBackoff = connectors.Duration(10 * time.Millisecond) })
	w := r.lookAt("w1", "OTEL_EXPORTER_OTLP_ENDPOINT="+spans.URL, "OTEL_BSP_SCHEDULE_DELAY=50")

	ours := tracetest.NewInMemoryExporter()
	tracing, err := telemetry.TracingTo(t.Context(), "platform", ours)
	r.must(err)
	pub := telemetry.NewPublisher(r.pub, telemetry.NewPublisherMetrics(telemetry.NewRegistry()), tracing)
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	_, ack, err := pub.Request(ctx, events.Update{Channel: "erp", Key: "k1", Version: versioning.Must(versioning.Number(7)), Payload: []byte(`{}`)})
	r.must(err)
	if ack.Outcome != events.Delivered {
		t.Fatalf("ack %+v", ack)
	}
	testkit.Eventually(t, "the worker's spans", func() bool { return len(spans.named("ack")) == 1 && len(spans.named("attempt")) == 2 })
	publish := ours.GetSpans()[0].SpanContext
	trace := publish.TraceID().String()
	for _, s := range append(spans.named("attempt"), spans.named("ack")...) {
		if hex.EncodeToString(s.GetTraceId()) != trace || hex.EncodeToString(s.GetParentSpanId()) != publish.SpanID().String() {
			t.Errorf("%s is not below the publish: %v", s.GetName(), s)
		}
	}
	mu.Lock()
	for i, s := range spans.named("attempt") {
		if want := "00-" + trace + "-" + hex.EncodeToString(s.GetSpanId()) + "-01"; told[i] != want {
			t.Errorf("the target was told %s, want %s", told[i], want)
		}
	}
	mu.Unlock()

	lines := w.lines("attempt")
	if len(lines) != 2 {
		t.Fatalf("%d log lines of attempts", len(lines))
	}
	for _, field := range []string{
		"level", "time", "worker", "channel", "partition", "epoch", "kind", "key", "version", "id", "attempt", "class", "code", "error",
		"took", "end_to_end", "trace_id", "sequence",
	} {
		if _, ok := lines[0][field]; !ok {
			t.Errorf("the log line has no %s: %v", field, lines[0])
		}
	}
	for field, want := range map[string]any{
		"channel": "erp", "kind": "http", "key": "k1", "version": "7", "class": "transient", "code": "503", "trace_id": trace, "attempt": 1.0,
	} {
		if lines[0][field] != want {
			t.Errorf("%s = %v, want %v", field, lines[0][field], want)
		}
	}
	if lines[1]["class"] != "ok" || lines[1]["attempt"] != 2.0 {
		t.Errorf("the second line: %v", lines[1])
	}
}

// An address that is taken, and variables of OpenTelemetry that ask for what
// there is not, are told at the start.
func TestTelemetryThatCannotBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	address := strings.TrimPrefix(taken.URL, "http://")
	for name, tt := range map[string]struct {
		env  []string
		says string
	}{
		"address is taken": {[]string{"EXTSYNC_TELEMETRY_LISTEN=" + address}, address},
		"profiles for all": {[]string{"EXTSYNC_TELEMETRY_PPROF=0.0.0.0:0"}, "loopback"},
		"unknown protocol": {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"},
	} {
		t.Run(name, func(t *testing.T) {
			e := program{name: "connector-worker", args: []string{"run"}, env: append(tt.env, "EXTSYNC_NATS_URL="+r.url)}.run(t)
			if e.code == 0 || !strings.Contains(e.err, tt.says) {
				t.Errorf("exit code %d\n%s", e.code, e.err)
			}
		})
	}
}
