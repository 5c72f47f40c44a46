package telemetry_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/telemetry"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A lab is a broker, an HTTP target, a measured worker and a measured publisher.
type lab struct {
	*natstest.Broker
	t        *testing.T
	names    events.Names
	registry *channels.Registry
	worker   *prometheus.Registry
	metrics  *telemetry.WorkerMetrics
	health   *telemetry.WorkerHealth
	engine   *delivery.Worker
	pubs     *prometheus.Registry
	pub      *telemetry.Publisher
	spans    *tracetest.InMemoryExporter // of both
	answer   atomic.Pointer[http.HandlerFunc]
	url      string // of the target
}

// newLab starts everything; the target takes what comes until respond says
// otherwise.
func newLab(t *testing.T, stallAfter time.Duration) *lab {
	t.Helper()
	l := &lab{
		Broker: natstest.Run(t, natstest.Options{TCP: true}), t: t, names: events.DefaultNames(),
		worker: telemetry.NewRegistry(), pubs: telemetry.NewRegistry(), spans: tracetest.NewInMemoryExporter(),
	}
	l.respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*l.answer.Load())(w, r) }))
	t.Cleanup(target.Close)
	l.url = target.URL + "/{key}"

	testkit.Must(t, channels.Provision(t.Context(), l.JS, l.names, channels.Storage{}))
	var err error
	l.registry, err = channels.OpenRegistry(t.Context(), l.JS, l.names, kinds.All())
	testkit.Must(t, err)
	plain, err := publish.New(t.Context(), l.JS, l.names)
	testkit.Must(t, err)
	l.pub = telemetry.NewPublisher(plain, telemetry.NewPublisherMetrics(l.pubs), l.tracing("publisher"))

	conn := l.Connect(t) // it outlives a restart of the broker
	js, err := jetstream.New(conn)
	testkit.Must(t, err)
	l.metrics = telemetry.NewWorkerMetrics(l.worker)
	l.engine, err = delivery.New(delivery.Options{
		JS: js, Catalog: kinds.All(), Host: connectortest.Host(nil), ID: "w", LeaseTTL: 2 * time.Second, DrainTimeout: time.Second,
		Logger: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel), Observer: l.metrics, Tracer: l.tracing("worker").Tracer(),
	})
	testkit.Must(t, err)
	l.health = telemetry.NewWorkerHealth(l.engine, conn.Status, stallAfter)
	l.metrics.Attach(l.engine, l.health, func() bool { return conn.Status() == nats.CONNECTED })
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 3)
	go func() { done <- l.engine.Run(ctx) }()
	go func() { l.health.Watch(ctx); done <- nil }()
	go func() { l.metrics.Refresh(ctx, js, l.names, zerolog.Nop()); done <- nil }()
	t.Cleanup(func() {
		stop()
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return l
}

func (l *lab) tracing(service string) *telemetry.Tracing {
	l.t.Helper()
	tr, err := telemetry.TracingTo(l.t.Context(), service, l.spans)
	testkit.Must(l.t, err)
	return tr
}

func (l *lab) respond(f http.HandlerFunc) { l.answer.Store(&f) }

func (l *lab) channel(name string, change ...func(*channels.Config)) {
	l.t.Helper()
	cfg := channels.Config{
		Name: name,
		Connector: channels.Connector{Kind: "http", Config: channels.NewRaw(map[string]any{
			"url": l.url, "allow_cidrs": []string{"127.0.0.0/8"},
		})},
		Retry: channels.Retry{InitialBackoff: connectors.Duration(5 * time.Millisecond), MaxBackoff: connectors.Duration(20 * time.Millisecond)},
	}
	for _, c := range change {
		c(&cfg)
	}
	_, err := l.registry.Put(l.t.Context(), cfg, 0)
	testkit.Must(l.t, err)
}

func update(channel, key string, version int64) events.Update {
	return events.Update{
		Channel: channel, Key: key, Version: versioning.Must(versioning.Number(version)),
		Payload: []byte(`{"version":` + strconv.FormatInt(version, 10) + `}`),
	}
}

func (l *lab) request(u events.Update) events.Ack {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), testkit.Patience)
	defer cancel()
	_, ack, err := l.pub.Request(ctx, u)
	testkit.Must(l.t, err)
	return ack
}

func gather(t testing.TB, reg *prometheus.Registry) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := reg.Gather()
	testkit.Must(t, err)
	out := map[string]*dto.MetricFamily{}
	for _, f := range families {
		out[f.GetName()] = f
	}
	return out
}

// value returns a sample, such as of "extsync_outcomes_total cal delivered" with
// the values of its labels in the order of their names; the count of a histogram.
// -1: there is none.
func value(t testing.TB, reg *prometheus.Registry, sample string) float64 {
	t.Helper()
	parts := strings.Fields(sample)
	f := gather(t, reg)[parts[0]]
	for _, m := range f.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetValue())
		}
		if strings.Join(labels, " ") != strings.Join(parts[1:], " ") {
			continue
		}
		switch f.GetType() {
		case dto.MetricType_COUNTER:
			return m.GetCounter().GetValue()
		case dto.MetricType_HISTOGRAM:
			return float64(m.GetHistogram().GetSampleCount())
		default:
			return m.GetGauge().GetValue()
		}
	}
	return -1
}
