package cli

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A container's check passes on 200 and on nothing else.
func TestHealth(t *testing.T) {
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte("so it is\n"))
	}))
	if text, err := askHealth(t.Context(), srv.URL); err != nil || text != "so it is" {
		t.Errorf("%q, %v", text, err)
	}
	status = http.StatusServiceUnavailable
	if _, err := askHealth(t.Context(), srv.URL); !errors.Is(err, errUnhealthy) {
		t.Errorf("503: %v", err)
	}
	srv.Close()
	if _, err := askHealth(t.Context(), srv.URL); !errors.Is(err, errUnhealthy) {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := askHealth(t.Context(), "9464"); !errors.Is(err, errUsage) {
		t.Errorf("no URL: %v", err)
	}
}
