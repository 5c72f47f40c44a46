package telemetry_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/hms-utl/extsync/internal/telemetry"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

func attr(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if a.Key == attribute.Key(key) {
			return a.Value.String()
		}
	}
	return ""
}

// named returns the spans of one name, in the order in which they ended.
func (l *lab) named(name string) []tracetest.SpanStub {
	var out []tracetest.SpanStub
	for _, s := range l.spans.GetSpans() {
		if s.Name == name {
			out = append(out, s)
		}
	}
	return out
}

// TestOneTraceFromPublishToAck: the request of a client, the publish, an attempt
// that fails, one that succeeds, and the ack are one trace, and the target is
// told of the attempt that it sees.
func TestOneTraceFromPublishToAck(t *testing.T) {
	l := newLab(t, testkit.Patience)
	var mu sync.Mutex
	var seen []string
	l.respond(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if seen = append(seen, r.Header.Get("traceparent")); len(seen) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	l.channel("cal")
	api := l.tracing("api").Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), testkit.Patience)
		defer cancel()
		_, ack, err := l.pub.Request(ctx, update("cal", "k", 1))
		if err != nil || ack.Outcome != events.Delivered {
			t.Errorf("ack %+v, %v", ack, err)
		}
	}), func(*http.Request) string { return "POST /updates" })
	const trace, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/updates", nil)
	req.Header.Set("traceparent", "00-"+trace+"-"+caller+"-01")
	api.ServeHTTP(httptest.NewRecorder(), req)

	testkit.Eventually(t, "the spans", func() bool { return len(l.named("ack")) == 1 && len(l.named("POST /updates")) == 1 })
	server, publish, attempts, ack := l.named("POST /updates")[0], l.named("publish")[0], l.named("attempt"), l.named("ack")[0]
	for _, s := range append([]tracetest.SpanStub{server, publish, ack}, attempts...) {
		if s.SpanContext.TraceID().String() != trace {
			t.Errorf("%s is in trace %s", s.Name, s.SpanContext.TraceID())
		}
	}
	if got := server.Parent.SpanID().String(); got != caller {
		t.Errorf("the parent of the request is %s", got)
	}
	if publish.Parent.SpanID() != server.SpanContext.SpanID() {
		t.Error("the publish is not below the request")
	}
	if len(attempts) != 2 || attr(attempts[0], "extsync.class") != "transient" || attr(attempts[0], "extsync.code") != "503" ||
		attr(attempts[1], "extsync.class") != "ok" || attr(attempts[1], "extsync.attempt") != "2" {
		t.Fatalf("attempts %+v", attempts)
	}
	for i, a := range attempts {
		if a.Parent.SpanID() != publish.SpanContext.SpanID() {
			t.Errorf("attempt %d is not below the publish", i)
		}
		if want := "00-" + trace + "-" + a.SpanContext.SpanID().String() + "-01"; seen[i] != want {
			t.Errorf("the target was told %s, want %s", seen[i], want)
		}
	}
	if ack.Parent.SpanID() != publish.SpanContext.SpanID() || attr(ack, "extsync.outcome") != "delivered" || attr(ack, "extsync.acked") != "true" {
		t.Errorf("ack %+v", ack)
	}
}

// An update of a client that knows nothing of traces is one trace all the same.
func TestTraceBeginsWithTheFirstAttempt(t *testing.T) {
	l := newLab(t, testkit.Patience)
	var mu sync.Mutex
	calls := 0
	l.respond(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	l.channel("cal")
	_, err := l.pub.Publishing.Publish(t.Context(), update("cal", "k", 1)) // not the traced one
	testkit.Must(t, err)
	testkit.Eventually(t, "the spans", func() bool { return len(l.named("ack")) == 1 })
	attempts := l.named("attempt")
	if len(attempts) != 2 || attempts[0].Parent.IsValid() || attempts[1].Parent.SpanID() != attempts[0].SpanContext.SpanID() ||
		l.named("ack")[0].SpanContext.TraceID() != attempts[0].SpanContext.TraceID() {
		t.Errorf("spans %+v", l.spans.GetSpans())
	}
}

// A trace that the update brings along is not replaced by that of the request
// which carries it.
func TestPublishStaysInTheUpdatesOwnTrace(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	tr, err := telemetry.TracingTo(t.Context(), "test", spans)
	testkit.Must(t, err)
	const own = "0af7651916cd43dd8448eb211c80319c"
	h := tr.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		u := update("cal", "k", 1)
		u.TraceParent = "00-" + own + "-b7ad6b7169203331-01"
		_, end := tr.Publishing(r.Context(), &u)
		end(nil)
		if !strings.HasPrefix(u.TraceParent, "00-"+own+"-") || strings.Contains(u.TraceParent, "b7ad6b7169203331") {
			t.Errorf("the update carries %s", u.TraceParent)
		}
	}), func(*http.Request) string { return "POST" })
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	publish, server := spans.GetSpans()[0], spans.GetSpans()[1]
	if publish.SpanContext.TraceID().String() != own || len(publish.Links) != 1 || publish.Links[0].SpanContext.SpanID() != server.SpanContext.SpanID() {
		t.Errorf("publish %+v", publish)
	}
}

func TestTracingIsOnWhereTheStandardVariablesSaySo(t *testing.T) {
	const endpoint, traces = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	for name, tt := range map[string]struct {
		env map[string]string
		on  bool
		bad bool
	}{
		"nothing":          {},
		"endpoint":         {env: map[string]string{endpoint: "http://127.0.0.1:1"}, on: true},
		"of traces":        {env: map[string]string{traces: "http://127.0.0.1:1/v1/traces"}, on: true},
		"disabled":         {env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}},
		"no exporter":      {env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}},
		"other exporter":   {env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "zipkin"}, bad: true},
		"other protocol":   {env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, bad: true},
		"right for traces": {env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, on: true},
	} {
		t.Run(name, func(t *testing.T) {
			for key, v := range tt.env {
				t.Setenv(key, v)
			}
			tr, err := telemetry.StartTracing(t.Context(), "test", func(key string) string { return tt.env[key] }, zerolog.Nop())
			if tt.bad != errors.Is(err, connectors.ErrConfig) || !tt.bad && err != nil {
				t.Fatalf("error = %v", err)
			}
			if tt.bad {
				return
			}
			if on := tr.Tracer() != nil; on != tt.on {
				t.Errorf("on: %v, want %v", on, tt.on)
			}
			if !tt.on { // everything still works
				u := update("cal", "k", 1)
				_, end := tr.Publishing(t.Context(), &u)
				end(nil)
				if u.TraceParent != "" {
					t.Errorf("trace %s", u.TraceParent)
				}
			}
			testkit.Must(t, tr.Close(t.Context()))
		})
	}
}
