package console_test

import (
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
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

var versions = regexp.MustCompile(`"[0-9a-f]{16}/`)

// A browser keeps what the page names until the page names something else, and nothing besides.
func TestABrowserKeepsTheFilesOfThisVersion(t *testing.T) {
	h, err := console.Handler(func(r *http.Request) string { return strings.TrimPrefix(r.URL.Path, "/") })
	testkit.Must(t, err)
	get := func(file string) (kept bool, body string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+file, http.NoBody))
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d", file, w.Code)
		}
		return w.Header().Get("Cache-Control") != "no-cache", w.Body.String()
	}
	_, page := get("")
	version := strings.Trim(versions.FindString(page), `"/`)
	_, script := get("js/main.js")
	for _, test := range []struct {
		file string
		kept bool
	}{
		{"", false},
		{"index.html", false},
		{version + "/index.html", false},
		{"js/main.js", false},
		{version + "/js/main.js", true},
		{version + "/css/base.css", true},
		{"0123456789abcdef/js/main.js", false}, // of a page that was opened before an upgrade
	} {
		kept, body := get(test.file)
		if kept != test.kept {
			t.Errorf("%s is kept: %v", test.file, kept)
		}
		if strings.HasSuffix(test.file, "main.js") && body != script {
			t.Errorf("%s is another script", test.file)
		}
	}
}

var imported = regexp.MustCompile(`(?m)^(?:import|export)[^'"]*from ?['"]([^'"]+)['"]|(?:from|import)"([^"]+)"`)

// The first page names all that it is made of, so that a browser fetches it at once and not
// module after module.
func TestFirstPagePreloadsItsModules(t *testing.T) {
	h, err := console.Handler(func(r *http.Request) string { return strings.TrimPrefix(r.URL.Path, "/") })
	testkit.Must(t, err)
	get := func(file string) string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+file, http.NoBody))
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d", file, w.Code)
		}
		return w.Body.String()
	}
	page, left, seen := versions.ReplaceAllString(get(""), `"`), []string{"js/main.js"}, map[string]bool{}
	for len(left) > 0 {
		module := left[0]
		left = left[1:]
		if seen[module] {
			continue
		}
		seen[module] = true
		if module != "js/main.js" && !strings.Contains(page, `<link rel="modulepreload" href="`+module+`">`) {
			t.Errorf("%s is not preloaded", module)
		}
		for _, found := range imported.FindAllStringSubmatch(get(module), -1) {
			left = append(left, path.Join(path.Dir(module), found[1]+found[2]))
		}
	}
	if n := strings.Count(page, "modulepreload"); n != len(seen)-1 || n < 10 {
		t.Errorf("%d modules are preloaded, and %d are imported", n, len(seen)-1)
	}
}
