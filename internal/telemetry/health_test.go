package telemetry_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/telemetry"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/events"
)

// ready asks /readyz.
func (l *lab) ready() (status int, body string) {
	rec := httptest.NewRecorder()
	h := telemetry.OperatorHandler(telemetry.MetricsHandler(l.worker), l.health.Problems, l.health.Notes)
	h.ServeHTTP(rec, httptest.NewRequestWithContext(l.t.Context(), http.MethodGet, "/readyz", nil))
	return rec.Code, rec.Body.String()
}

// awaitReady waits until /readyz says yes, or no with a reason that has a text.
func (l *lab) awaitReady(why string) string {
	l.t.Helper()
	var status int
	var body string
	testkit.Eventually(l.t, "/readyz: "+why, func() bool {
		status, body = l.ready()
		return why == "" && status == http.StatusOK || why != "" && status == http.StatusServiceUnavailable && strings.Contains(body, why)
	})
	return body
}

// TestNotReadyWhileDeliveriesAreFrozen: a backlog without progress is seen, named,
// and over when the target goes on.
func TestNotReadyWhileDeliveriesAreFrozen(t *testing.T) {
	l := newLab(t, 200*time.Millisecond)
	free := make(chan struct{})
	l.respond(func(_ http.ResponseWriter, _ *http.Request) { <-free })
	l.channel("cal")
	l.awaitReady("")
	_, err := l.pub.Publish(t.Context(), update("cal", "secret-key", 1))
	testkit.Must(t, err)
	body := l.awaitReady("channel cal: 1 updates held, 1 calls in flight")
	if strings.Contains(body, "secret-key") {
		t.Errorf("a key is told: %s", body)
	}
	close(free)
	l.awaitReady("")
}

func TestNotReadyWithoutTheBroker(t *testing.T) {
	l := newLab(t, testkit.Patience)
	l.channel("cal")
	if ack := l.request(update("cal", "k", 1)); ack.Outcome != events.Delivered {
		t.Fatalf("ack %+v", ack)
	}
	l.awaitReady("")
	l.Stop(t)
	l.awaitReady("no connection to the broker: reconnecting")
	if n := value(t, l.worker, "extsync_broker_connected"); n != 0 {
		t.Errorf("connected: %v", n)
	}
	l.Start(t)
	l.awaitReady("")
}

func TestHealthAndProfiles(t *testing.T) {
	problems, notes := []string{"one", "two"}, []string{"three"}
	h := telemetry.OperatorHandler(http.NotFoundHandler(), func() []string { return problems }, func() []string { return notes })
	get := func(h http.Handler, method, path string) (int, string) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		return rec.Code, rec.Body.String()
	}
	if status, body := get(h, http.MethodGet, "/healthz"); status != http.StatusOK || body != "alive\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	if status, body := get(h, http.MethodGet, "/readyz"); status != http.StatusServiceUnavailable || body != "one\ntwo\ndegraded: three\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
	problems = nil
	if status, body := get(h, http.MethodGet, "/readyz"); status != http.StatusOK || body != "ready\ndegraded: three\n" {
		t.Errorf("/readyz, degraded: %d %q", status, body)
	}
	if status, _ := get(h, http.MethodPost, "/readyz"); status != http.StatusMethodNotAllowed {
		t.Errorf("POST /readyz: %d", status)
	}
	const direct = "http://127.0.0.1:6060"
	if status, body := get(telemetry.ProfileHandler(), http.MethodGet, direct+"/debug/pprof/goroutine?debug=1"); status != http.StatusOK || !strings.Contains(body, "goroutine profile:") {
		t.Errorf("profile: %d %.80q", status, body)
	}
	if status, _ := get(telemetry.ProfileHandler(), http.MethodGet, direct+"/debug/pprof/cmdline"); status == http.StatusOK {
		t.Error("the command line, which may hold a password, is shown")
	}
}

// A web page whose name was made to point to this machine could read profiles.
func TestProfilesAreForDirectRequests(t *testing.T) {
	for host, want := range map[string]int{
		"127.0.0.1:6060": http.StatusOK, "[::1]:6060": http.StatusOK, "[::1]": http.StatusOK, "localhost:6060": http.StatusOK, "LOCALHOST": http.StatusOK,
		"rebound.example:6060": http.StatusForbidden, "rebound.example": http.StatusForbidden, "localhost.example:6060": http.StatusForbidden,
		"127.0.0.1.example": http.StatusForbidden, "127.1": http.StatusForbidden, "": http.StatusForbidden,
	} {
		rec := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/pprof/goroutine?debug=1", nil)
		req.Host = host
		telemetry.ProfileHandler().ServeHTTP(rec, req)
		if rec.Code != want {
			t.Errorf("host %q: %d, want %d", host, rec.Code, want)
		}
	}
}
