package httpapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// deadlines is a writer that tells which deadlines were set.
type deadlines struct {
	http.ResponseWriter
	read, write time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = t; return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = t; return nil }

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
