package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/gateway"
)

// deadlines is a writer that tells which deadlines were set.
type deadlines struct {
	http.ResponseWriter
	read, write time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = t; return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = t; return nil }

// A gateway without a key for logins answered 503 also to who asked what people have done.
func TestOnlyLoginsNeedTheKey(t *testing.T) {
	for id, want := range map[string]bool{"log-in": true, "start-oidc-login": true, "finish-oidc-login": true, "log-out": false, "list-activity": false} {
		if got := logsIn(&huma.Operation{OperationID: id}); got != want {
			t.Errorf("%s: %t", id, got)
		}
	}
}

// Whoever follows acks was cut off after 30 seconds, and the next request on the
// connection failed, because a request without a body had a time for its body.
func TestRequestsWithoutBodyHaveNoTimeForIt(t *testing.T) {
	for name, tt := range map[string]struct {
		request *http.Request
		limited bool
	}{
		"no body":        {httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/acks/portal", nil), false},
		"body":           {httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/updates", strings.NewReader("{}")), true},
		"unknown length": {httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/updates", struct{ *strings.Reader }{strings.NewReader("{}")}), true},
	} {
		t.Run(name, func(t *testing.T) {
			d := &deadlines{ResponseWriter: httptest.NewRecorder()}
			limitTime(d, tt.request)
			if !d.read.IsZero() != tt.limited || d.write.IsZero() {
				t.Errorf("deadlines: read %v, write %v", d.read, d.write)
			}
		})
	}
}

// Who asks a gateway is told whether what he asked for was done, may have been, or was not.
func TestProblemsOfForwarding(t *testing.T) {
	for reason, tt := range map[string]struct {
		err    error
		status int
		repeat bool // by itself
	}{
		"no_administrator":     {gateway.ErrNobody, http.StatusServiceUnavailable, true},
		"overloaded":           {gateway.ErrOverloaded, http.StatusServiceUnavailable, true},
		"no_answer":            {fmt.Errorf("%w: %w", gateway.ErrNoAnswer, context.DeadlineExceeded), http.StatusGatewayTimeout, false},
		"answer_too_large":     {gateway.ErrAnswerTooLarge, http.StatusBadGateway, false},
		"administrator_failed": {gateway.ErrBroken, http.StatusBadGateway, false},
		"too_large":            {gateway.ErrTooLarge, http.StatusRequestEntityTooLarge, false},
		"bad_request":          {gateway.ErrMalformed, http.StatusBadRequest, false},
		"no_permission":        {fmt.Errorf("%w: sync.adm.*", broker.ErrRefused), http.StatusServiceUnavailable, true},
	} {
		p := new(server).problemOf(tt.err)
		if p.Reason != reason || p.Status != tt.status || p.retryAfter > 0 != tt.repeat {
			t.Errorf("%s: %+v", reason, p)
		}
	}
}
