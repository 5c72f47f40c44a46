package connhttp

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A lookup that is answered with something else than JSON says nothing, and does not make a
// second object.
func TestLookupThatIsNotJSONCreatesNothing(t *testing.T) {
	for _, body := range []string{"<html>back soon</html>", "", `{"total":1,"items":[{"id":"c1"}]} # x`} {
		created := 0
		e := newEngine(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				created++
			}
			_, _ = io.WriteString(w, body) // a client that has gone needs no answer
		}), contactsConfig, "0s")
		e.unsure = true
		if got := e.once(numbered(1, "x")); got.Class != connectors.Transient || got.Code != codeLookup || created > 0 {
			t.Errorf("%q: %s %s (%v), %d created", body, got.Class, got.Code, got.Err, created)
		}
	}
}

// Whoever cannot keep what the next update wants says so, in the outcome and in a metric.
func TestOutcomeSaysThatAnIDWasNotKept(t *testing.T) {
	for id, kept := range map[string]bool{
		`"é1"`: true, `"a\nb"`: false, `""`: false, `"` + strings.Repeat("x", connectors.MaxRefs) + `"`: false, "{}": false, "null": false,
	} {
		e := newEngine(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"id":`+id+`}`) // a client that has gone needs no answer
		}), contactsConfig, "0s")
		got := e.once(numbered(1, "x"))
		want, counted := "200", 0
		if !kept {
			want, counted = codeNotRemembered, 1
		}
		if got.Class != connectors.OK || got.Code != want || got.RuleErrors != counted {
			t.Errorf("id %.20s: %s %s, %d counted", id, got.Class, got.Code, got.RuleErrors)
		}
	}
}
