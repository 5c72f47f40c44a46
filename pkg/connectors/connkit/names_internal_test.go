package connkit

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestKeyNames(t *testing.T) {
	for key, want := range map[string]string{
		"p-17_a": "p-17_a", "P": "=50", "a/b": "a=2fb", "..": "=2e=2e", ".": "=2e", "a=b": "a=3db", "con": "=63on", "lpt1": "=6cpt1", "lpt10": "lpt10", "é": "=c3=a9",
		strings.Repeat("k", MostKeyName): strings.Repeat("k", MostKeyName),
	} {
		if got := KeyName(key, false); got != want {
			t.Errorf("%q has the name %q, want %q", key, got, want)
		}
	}
	if got := KeyName("P-7.X", true); got != "P-7=2eX" {
		t.Errorf("where case counts P-7.X has the name %q", got)
	}
}

// Two keys have two names, also for a file system that takes upper and lower case for one;
// and no name is one of another meaning, or too long with all that may be around it.
func FuzzKeyName(f *testing.F) {
	for _, pair := range [][2]string{
		{"a", "A"},
		{"a/b", "a=2fb"},
		{"e\u0301", "\u00e9"},
		{"con", "CON"},
		{"k", "k "},
		{strings.Repeat("k", 1024), strings.Repeat("k", 1023) + "K"},
		{strings.Repeat("=", 43), strings.Repeat("=", 42)},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == "" || b == "" || len(a) > 1024 || len(b) > 1024 {
			return
		}
		x, y := KeyName(a, false), KeyName(b, false)
		if (a == b) != strings.EqualFold(x, y) {
			t.Errorf("%q is %q, %q is %q", a, x, b, y)
		}
		if upper := KeyName(a, true); (a == b) != (upper == KeyName(b, true)) || len(upper) > MostKeyName {
			t.Errorf("where case counts, %q is %q", a, upper)
		}
		if len(x) > MostKeyName || strings.ContainsAny(x, "./\\: ") || !utf8.ValidString(x) || isDevice(x) {
			t.Errorf("%q is %q", a, x)
		}
	})
}
