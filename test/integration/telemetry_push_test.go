package integration

import (
	"encoding/hex"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
)

// One trace leads from a push at the command line over each attempt to the ack,
// where the standard variables ask for it.
func TestPushBeginsATrace(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"extsync", "publisher"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			spans := newTraces(t)
			var calls atomic.Int64
			s.apply(target(t, func(w http.ResponseWriter, _ *http.Request) {
				if calls.Add(1) == 1 {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}))
			env := append(s.env, "OTEL_EXPORTER_OTLP_ENDPOINT="+spans.URL, "OTEL_BSP_SCHEDULE_DELAY=50")
			program{name: "connector-worker", args: []string{"run"}, env: env}.start(t)
			push := program{name: name, args: []string{"push", "appointment_calendar", "k", "1", "--data", "{}", "--wait", "30s"}, env: env}
			push.ok(t)
			testkit.Eventually(t, "the worker's spans", func() bool { return len(spans.named("ack")) == 1 && len(spans.named("attempt")) == 2 })
			published := spans.named("publish")
			if len(published) != 1 {
				t.Fatalf("%d spans of publishing when the command had ended", len(published))
			}
			for _, span := range append(spans.named("attempt"), spans.named("ack")...) {
				if hex.EncodeToString(span.GetTraceId()) != hex.EncodeToString(published[0].GetTraceId()) ||
					hex.EncodeToString(span.GetParentSpanId()) != hex.EncodeToString(published[0].GetSpanId()) {
					t.Errorf("%s is not below the push: %v", span.GetName(), span)
				}
			}
			push.args[3], push.env = "2", s.env // asks for no traces
			push.ok(t)
			if n := len(spans.named("publish")); n != 1 {
				t.Errorf("%d spans", n)
			}
		})
	}
}
