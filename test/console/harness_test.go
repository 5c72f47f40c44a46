package console_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/hms-utl/extsync/internal/console"
	"github.com/hms-utl/extsync/internal/testkit"
)

// What would make every other test fail is noticed: each page here has one fault, but the first.
func TestHarnessNoticesFaults(t *testing.T) {
	t.Parallel()
	for name, page := range map[string]struct{ body, want string }{
		"nothing":                {`<p>fine</p>`, ""},
		"an inline script":       {`<script>document.title = "ran"</script>`, "Executing inline script"},
		"an inline style":        {`<p style="color:red">red</p>`, "Applying inline style"},
		"a script of elsewhere":  {`<script src="http://127.0.0.1:1/x.js"></script>`, "Loading the script"},
		"an error in a script":   {`<script src="fault.js?throw"></script>`, "Error: thrown"},
		"a promise that fails":   {`<script src="fault.js?reject"></script>`, "Error: rejected"},
		"an error that is told":  {`<script src="fault.js?console"></script>`, `console.error: "told"`},
		"a file that is missing": {`<script src="missing.js"></script>`, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Security-Policy", console.Policy)
				switch r.URL.Path {
				case "/":
					w.Header().Set("Content-Type", "text/html")
					_, _ = w.Write([]byte(`<!doctype html><html lang="en"><link rel="icon" href="icon.svg"><title>x</title><h1>Page</h1>` + page.body))
				case "/icon.svg":
					w.Header().Set("Content-Type", "image/svg+xml")
					_, _ = w.Write([]byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`))
				case "/fault.js":
					w.Header().Set("Content-Type", "text/javascript")
					_, _ = w.Write([]byte(map[string]string{
						"throw": "throw new Error('thrown')", "reject": "Promise.reject(new Error('rejected'))", "console": "console.error('told')",
					}[r.URL.RawQuery]))
				default:
					http.NotFound(w, r)
				}
			}))
			defer server.Close()
			quiet := &silent{TB: t}
			p := newTab(quiet, wide())
			p.do(chromedp.Navigate(server.URL + "/"))
			p.see("h1", "Page")
			p.quiet()
			if page.want != "" {
				testkit.Eventually(t, page.want, func() bool { return strings.Contains(strings.Join(p.Faults(), "\n"), page.want) })
			}
			quiet.end()
			if quiet.failed != (page.want != "") {
				t.Errorf("its test fails: %t; the faults are %q", quiet.failed, p.Faults())
			}
		})
	}
}

// silent is a test whose failure is expected.
type silent struct {
	testing.TB
	failed bool
	after  []func()
}

func (s *silent) Errorf(string, ...any) { s.failed = true }
func (s *silent) Cleanup(f func())      { s.after = append(s.after, f) }

func (s *silent) end() {
	for _, f := range s.after {
		f()
	}
}
