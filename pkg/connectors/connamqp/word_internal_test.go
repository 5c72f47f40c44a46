package connamqp

import (
	"regexp"
	"strings"
	"testing"
)

var oneWord = regexp.MustCompile(`^[A-Za-z0-9_=-]{1,128}$`)

// The word of a key is one word of a routing key, and no other key's.
func FuzzWord(f *testing.F) {
	for _, seed := range []string{"P-7", "p-7", "a.b", "a*b#", "=2e", ".", "日本", "\x00", strings.Repeat("k", 1024), strings.Repeat("k", 1023) + "l"} {
		f.Add(seed, seed+".")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == "" || b == "" {
			return
		}
		one, other := word(a), word(b)
		if !oneWord.MatchString(one) {
			t.Errorf("%q has %q", a, one)
		}
		if (one == other) != (a == b) {
			t.Errorf("%q has %q, %q has %q", a, one, b, other)
		}
	})
}
