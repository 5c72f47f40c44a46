package redact_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/redact"
)

func TestApply(t *testing.T) {
	for _, c := range []struct{ payload, paths, want, hidden string }{
		{`{"ssn":"1","a":12345678901234567890.50}`, ".ssn", `{"ssn":"(hidden)","a":12345678901234567890.50}`, ".ssn"},
		{`{"b":{"ssn":{"x":[1,{}]},"z":null},"a":"<&>"}`, ".b.ssn .none", `{"b":{"ssn":"(hidden)","z":null},"a":"<&>"}`, ".b.ssn"},
		{`{"ssn":1,"ssn":2,"\u0073sn":3}`, ".ssn", `{"ssn":"(hidden)","ssn":"(hidden)","ssn":"(hidden)"}`, ".ssn"},
		{`[{"p":[[{"ssn":1}],{"ssn":2}]},3]`, ".p.ssn", `[{"p":[[{"ssn":"(hidden)"}],{"ssn":"(hidden)"}]},3]`, ".p.ssn"},
		{`{"p":[{"ssn":1}]}`, ".p[].ssn .p.other", `{"p":[{"ssn":"(hidden)"}]}`, ".p[].ssn"},
		{`{"a.b":1,"a":{"b":2}}`, `."a.b"`, `{"a.b":"(hidden)","a":{"b":2}}`, `."a.b"`},
		{`{"a":{"b":1}}`, ".a.b .a", `{"a":"(hidden)"}`, ".a"},
		{`{"p":"ssn"}`, ".p.ssn", `{"p":"ssn"}`, ""},
		{`"x"`, ".ssn", `"x"`, ""},
		{`{ }`, ".ssn", `{}`, ""},
		{`{"a":1}`, "", `{"a":1}`, ""},
		{`not json`, "", `not json`, ""},
		{`not json`, ".ssn", "", "."},
		{`{"ssn":1} {"ssn":2}`, ".ssn", "", "."},
		{`{"ssn":1}`, "ssn", "", "."},
		{strings.Repeat("[", 20000) + strings.Repeat("]", 20000), ".ssn", "", "."},
	} {
		out, hidden := redact.Apply([]byte(c.payload), strings.Fields(c.paths))
		if got := strings.Join(hidden, " "); string(out) != c.want || got != c.hidden {
			t.Errorf("%.60s without %s: %s, hidden %s; want %s, %s", c.payload, c.paths, out, got, c.want, c.hidden)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, good := range []string{".a", ".a.b", ".a[].b", ".a[3]", `."x y"`, `."\u0061".b`, "._x-y"} {
		if err := redact.Check(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "a", "..a", ".a.", ".a b", `."a`, ".a[", ".a[x]", "[]", ".[].a", ".1", "." + strings.Repeat("a", 600), strings.Repeat(".a", 40)} {
		if err := redact.Check(bad); !errors.Is(err, redact.ErrPath) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Nothing that stands at a path gets through, and nothing else changes.
func FuzzApply(f *testing.F) {
	f.Add([]byte(`{"a":{"ssn":[1,2],"b":"x"},"ssn":{"ssn":1}}`))
	f.Add([]byte(`[{"\u0073sn":1e400}]`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		out, hidden := redact.Apply(payload, []string{".ssn", ".a.ssn"})
		if out == nil {
			if !slices.Equal(hidden, []string{redact.Whole}) {
				t.Fatalf("nothing is shown, and hidden is %q", hidden)
			}
			return
		}
		again, _ := redact.Apply(out, []string{".ssn", ".a.ssn"})
		if !json.Valid(out) || string(again) != string(out) {
			t.Fatalf("%s is not what is left of itself: %s", out, again)
		}
		var left any
		if err := json.Unmarshal(out, &left); err != nil {
			return // a number that is too large
		}
		shows(t, left, true)
	})
}

func shows(t *testing.T, v any, top bool) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			shows(t, e, top)
		}
	case map[string]any:
		if s, ok := v["ssn"]; ok && s != redact.Hidden {
			t.Fatalf("shown: %v", v)
		}
		if top {
			shows(t, v["a"], false)
		}
	}
}
