package app

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/telemetry"
	"github.com/hms-utl/extsync/pkg/delivery"
)

// workerTelemetry is what lets people look at a worker. Without an address to
// look at, nothing is measured.
type workerTelemetry struct {
	cfg      config.Config
	log      zerolog.Logger
	tracing  *telemetry.Tracing
	registry *prometheus.Registry
	metrics  *telemetry.WorkerMetrics // nil: nobody looks

	running sync.WaitGroup
	looks   looks
}

// looks are the addresses at which people look at a process.
type looks struct {
	log   zerolog.Logger
	stops []func()
}

// newWorkerTelemetry makes what the worker needs to be made.
func newWorkerTelemetry(ctx context.Context, cfg config.Config, log zerolog.Logger) (*workerTelemetry, error) {
	t := &workerTelemetry{cfg: cfg, log: log, looks: looks{log: log}}
	var err error
	if t.tracing, err = telemetry.StartTracing(ctx, "connector-worker", os.Getenv, log); err != nil {
		return nil, err
	}
	if cfg.Telemetry.Listen != "" {
		t.registry = telemetry.NewRegistry()
		t.metrics = telemetry.NewWorkerMetrics(t.registry)
	}
	return t, nil
}

// apply gives the worker what it reports to.
func (t *workerTelemetry) apply(o *delivery.Options) {
	o.Tracer = t.tracing.Tracer()
	if t.metrics != nil {
		o.Observer = t.metrics
	}
}

// start lets the worker be looked at until close is called.
func (t *workerTelemetry) start(ctx context.Context, c *operate.Client, w *delivery.Worker) error {
	if err := t.looks.profiles(ctx, t.cfg.Telemetry.Pprof); err != nil {
		return err
	}
	if t.metrics == nil {
		return nil
	}
	health := telemetry.NewWorkerHealth(w, c.Conn.Status, t.cfg.Worker.StallAfter.D())
	t.metrics.Attach(w, health, func() bool { return c.Conn.Status() == nats.CONNECTED })
	// The worker drains after ctx has ended, and can be looked at until then.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	t.looks.stops = append(t.looks.stops, stop)
	t.running.Go(func() { health.Watch(background) })
	t.running.Go(func() { t.metrics.Refresh(background, c.JS, c.Names, t.log) })
	handler := telemetry.OperatorHandler(telemetry.MetricsHandler(t.registry), func() []string {
		problems := health.Problems()
		if err := c.Refused(); err != nil {
			problems = append(problems, err.Error())
		}
		return problems
	}, health.Notes)
	return t.looks.serve(ctx, "metrics", t.cfg.Telemetry.Listen, "/metrics", handler)
}

// profiles serves /debug/pprof/ on an address; "" is none.
func (l *looks) profiles(ctx context.Context, address string) error {
	if address == "" {
		return nil
	}
	return l.serve(ctx, "profiles", address, "/debug/pprof/", telemetry.ProfileHandler())
}

func (l *looks) serve(ctx context.Context, what, address, path string, h http.Handler) error {
	addr, stop, err := telemetry.Serve(context.WithoutCancel(ctx), address, h)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	l.stops = append(l.stops, stop)
	l.log.Info().Str("url", "http://"+addr.String()+path).Msg(what + " can be read")
	return nil
}

// close ends what start began, and sends the last traces.
func (t *workerTelemetry) close(ctx context.Context) {
	t.looks.stop()
	t.running.Wait()
	if err := t.tracing.Close(ctx); err != nil {
		t.log.Warn().Err(err).Msg("traces")
	}
}

func (l *looks) stop() {
	for _, stop := range l.stops {
		stop()
	}
}
