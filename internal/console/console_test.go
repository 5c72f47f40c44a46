package console_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/console"
	"github.com/hms-utl/extsync/internal/testkit"
)

// Whatever a browser can show as a page has the policy; scripts and styles are sent without it.
func TestDocumentsHaveThePolicy(t *testing.T) {
	h, err := console.Handler(func(r *http.Request) string { return strings.TrimPrefix(r.URL.Path, "/") })
	testkit.Must(t, err)
	for file, document := range map[string]bool{"": true, "icon.svg": true, "vendor/LICENSE.htm": true, "js/main.js": false, "css/base.css": false} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+file, http.NoBody))
		for _, name := range []string{"Content-Security-Policy", "Referrer-Policy", "Cross-Origin-Opener-Policy"} {
			if got := w.Header().Get(name); w.Code != http.StatusOK || (got != "") != document {
				t.Errorf("%s: status %d, %s is %q", file, w.Code, name, got)
			}
		}
	}
}
