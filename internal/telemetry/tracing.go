package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	tracerName = "github.com/hms-utl/extsync"
	// flushTimeout bounds how long the end of a process waits for its last spans.
	flushTimeout = 5 * time.Second
)

// Tracing makes the spans of a process. The zero value makes none.
type Tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// StartTracing sends the process's spans where the standard variables say:
// OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT turn it on,
// OTEL_SDK_DISABLED and OTEL_TRACES_EXPORTER=none off; OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_* and the other
// OTEL_EXPORTER_OTLP_* mean what they do everywhere. getenv is os.Getenv: the
// exporter reads the process's own variables. Where nothing is asked for, the
// result makes no spans.
func StartTracing(ctx context.Context, service string, getenv func(string) string, logger zerolog.Logger) (*Tracing, error) {
	on, err := tracingWanted(getenv)
	if err != nil || !on {
		return &Tracing{}, err
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	// The library has no other way to tell of spans that it could not send.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Warn().Err(err).Msg("traces") }))
	return newTracing(ctx, service, sdktrace.WithBatcher(exporter))
}

// TracingTo sends spans to an exporter as they end: for tests.
func TracingTo(ctx context.Context, service string, exporter sdktrace.SpanExporter) (*Tracing, error) {
	return newTracing(ctx, service, sdktrace.WithSyncer(exporter))
}

func newTracing(ctx context.Context, service string, to sdktrace.TracerProviderOption) (*Tracing, error) {
	version, _ := build()
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version)),
		resource.WithFromEnv(), // over ours
	)
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(to, sdktrace.WithResource(res))
	return &Tracing{provider: provider, tracer: provider.Tracer(tracerName)}, nil
}

// tracingWanted reads the variables that turn tracing on and off.
func tracingWanted(getenv func(string) string) (bool, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch exporter := getenv("OTEL_TRACES_EXPORTER"); exporter {
	case "", "otlp":
	case "none":
		return false, nil
	default:
		return false, fmt.Errorf("%w: OTEL_TRACES_EXPORTER: %q is neither otlp nor none", connectors.ErrConfig, exporter)
	}
	if getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return false, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := getenv(name); protocol != "" {
			if protocol != "http/protobuf" {
				return false, fmt.Errorf("%w: %s: %q is not http/protobuf", connectors.ErrConfig, name, protocol)
			}
			break
		}
	}
	return true, nil
}

// Tracer returns what makes spans, nil if none are wanted.
func (t *Tracing) Tracer() trace.Tracer { return t.tracer }

// Close sends what is left. It takes 5 s at most.
func (t *Tracing) Close(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// Middleware makes a span of each request, in the trace that the request came
// with. name tells requests apart, such as by method and pattern: it must not
// hold what a client chooses freely. It is asked when the request was answered, so
// that a ServeMux has set the pattern. Without tracing, h is returned as it is.
func (t *Tracing) Middleware(h http.Handler, name func(*http.Request) string) http.Handler {
	if t.tracer == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
		r = r.WithContext(ctx)
		defer func() {
			span.SetName(name(r))
			span.End()
		}()
		h.ServeHTTP(w, r)
	})
}

// Publishing starts the span of a publish and lets the update carry it to the
// attempts and the ack. The parent is the span in ctx, unless the update has a
// trace of its own: then that one, with a link to the span in ctx. end must be
// called with what came of it.
func (t *Tracing) Publishing(ctx context.Context, u *events.Update) (_ context.Context, end func(error)) {
	if t.tracer == nil {
		return ctx, func(error) {}
	}
	carrier := propagation.MapCarrier{events.HeaderTraceParent: u.TraceParent, events.HeaderTraceState: u.TraceState}
	around := trace.SpanContextFromContext(ctx)
	own := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
	var links []trace.Link
	if own.IsValid() && own.TraceID() != around.TraceID() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, own)
		if around.IsValid() {
			links = append(links, trace.Link{SpanContext: around})
		}
	}
	ctx, span := t.tracer.Start(ctx, "publish", trace.WithSpanKind(trace.SpanKindProducer), trace.WithLinks(links...), trace.WithAttributes(
		attribute.String("extsync.channel", u.Channel),
		attribute.String("extsync.key", u.Key),
		attribute.Stringer("extsync.version", u.Version),
	))
	clear(carrier)
	propagation.TraceContext{}.Inject(ctx, carrier)
	if parent := carrier[events.HeaderTraceParent]; parent != "" {
		u.TraceParent, u.TraceState = parent, carrier[events.HeaderTraceState]
	}
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
