package connproto

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Whatever a plugin answers, each attempt has a result within the bounds of the contract.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"id":1,"results":[{"class":"ok","remember":{"id":"7"}}]}`,
		`{"id":1,"results":[{"class":"stale","held":{"version":"9","digest":"","op":"delete"}}]}`,
		`{"id":1,"results":[{"class":"throttled","code":"429","message":"slow\ndown","retry_after":1e300}]}`,
		`{"id":1,"error":{"class":"ok"}}`, `{"id":1,"held":[null,{"version":"1"}]}`, `null`, `[]`, `{"id":-1}`, `{"id":1,"results":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c := &Connector{}
		a, err := ParseAnswer(line)
		if err != nil {
			if len(err.Error()) > 200 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if err := c.ErrorOf(a); err != nil && connectors.ClassOf(err) == connectors.OK {
			t.Error("an error is OK")
		}
		for _, h := range a.Held {
			if held, err := heldOf(h); err == nil && h != nil && (held.IsZero() || held.Op == "") {
				t.Errorf("%+v", held)
			}
		}
		for _, n := range []int{1, len(a.Results)} {
			results := c.results(a, n)
			if len(results) != n {
				t.Fatalf("%d results for %d attempts", len(results), n)
			}
			for _, r := range results {
				checkBounds(t, &r)
			}
		}
	})
}

func checkBounds(t *testing.T, r *connectors.Result) {
	t.Helper()
	text := ""
	if r.Err != nil {
		text = r.Err.Error()
	}
	if (r.Class == connectors.OK) != (r.Err == nil) || r.Class != connectors.OK && r.Code == "" {
		t.Errorf("%+v", r)
	}
	if strings.ContainsAny(text, "\n\r") || len(text) > maxMessage+100 || len(r.Code) > maxCode || len(r.Response) > connectors.MaxResponse || !utf8.ValidString(r.Response) {
		t.Errorf("%+v", r)
	}
	if r.RetryAfter < 0 || r.RetryAfter > connectors.MaxRetryAfter || r.Remember.Check() != nil {
		t.Errorf("%+v", r)
	}
}

func TestParseClass(t *testing.T) {
	for class := connectors.Transient; class <= connectors.Unready; class++ {
		if got, err := parseClass(class.String()); err != nil || got != class {
			t.Errorf("%s: %s, %v", class, got, err)
		}
	}
	if got, err := parseClass("accepted"); err != nil || got != connectors.OK {
		t.Errorf("accepted: %s, %v", got, err)
	}
	for _, name := range []string{"", "OK", "class(9)"} {
		if got, err := parseClass(name); err == nil || got != connectors.Transient {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// A request whose caller has gone is not sent, however long it has waited; one that is sent
// says how much time is left of it then.
func TestOnlyWhatHasTimeIsSent(t *testing.T) {
	now := time.Now()
	for left, want := range map[time.Duration]string{time.Minute: `,"deadline_ms":59`, -time.Minute: `,"deadline_ms":0,`} {
		if line := string(AppendRequest(nil, 1, "s", MethodApply, now.Add(left), nil)); !strings.Contains(line, want) {
			t.Errorf("%s: %s", left, line)
		}
	}
	if line := AppendRequest(nil, 1, "s", MethodClose, time.Time{}, nil); !bytes.Equal(line, []byte(`{"id":1,"session":"s","method":"close"}`)) {
		t.Errorf("%s", line)
	}
}
