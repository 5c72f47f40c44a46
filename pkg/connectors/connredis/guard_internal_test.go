package connredis

import (
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// FuzzSorted: texts compare as versions do, and what is not written by sorted is no version.
func FuzzSorted(f *testing.F) {
	for _, s := range []string{"1", "9007199254740993", "9223372036854775807", "0001-01-01T00:00:00Z", "2026-03-01T12:00:00.123456788Z", "9999-12-31T23:59:59.999999999Z", "0000000000000000007", "20261301000000000000000"} {
		f.Add(s, "8")
		f.Add(s, "2026-03-01T12:00:00.5Z")
	}
	f.Fuzz(func(t *testing.T, s, other string) {
		if v, ok := parseSorted(s); ok && sorted(v) != s {
			t.Errorf("%q is read as %s, which is written %q", s, v, sorted(v))
		}
		v, err := versioning.Parse(s)
		w, err2 := versioning.Parse(other)
		if err != nil || err2 != nil {
			return
		}
		if back, ok := parseSorted(sorted(v)); !ok || back != v {
			t.Errorf("%s is written %q and read as %s", v, sorted(v), back)
		}
		order, err := v.Compare(w)
		switch {
		case (err != nil) != (len(sorted(v)) != len(sorted(w))):
			t.Errorf("%s and %s: %v, and %q and %q", v, w, err, sorted(v), sorted(w))
		case err == nil && order != strings.Compare(sorted(v), sorted(w)):
			t.Errorf("%s and %s are written %q and %q", v, w, sorted(v), sorted(w))
		}
	})
}

// FuzzBeside: the two names of a key are in one slot, by the rule of the specification.
func FuzzBeside(f *testing.F) {
	for _, name := range []string{"a", "{a}", "a{b}c", "{}a", "a}b", "{a", "{{a}}", "{}{a}", ""} {
		f.Add(name)
	}
	tag := func(name string) string {
		if open := strings.IndexByte(name, '{'); open >= 0 {
			if end := strings.IndexByte(name[open+1:], '}'); end > 0 {
				return name[open+1 : open+1+end]
			}
		}
		return name
	}
	f.Fuzz(func(t *testing.T, name string) {
		hash, ok := beside(name)
		if hash == name {
			t.Errorf("%q is beside itself", name)
		}
		if ok && name != "" && tag(hash) != tag(name) {
			t.Errorf("%q and %q are in two slots", name, hash)
		}
	})
}

// FuzzNames: no two names of the layout value are the same, whatever the prefix and the keys
// are.
func FuzzNames(f *testing.F) {
	for _, pair := range [][2]string{{"a", "a:sync"}, {"a", "{a}"}, {"{a}", "{a}:sync"}, {"a:sync", "a:sync:"}, {"a}", "{a}}"}, {"{a}", "{{a}}"}} {
		f.Add("", pair[0], pair[1])
		f.Add("{p}:", pair[0], pair[1])
		f.Add("{", pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, prefix, a, b string) {
		c := &connector{prefix: prefix, cfg: Config{Layout: valueLayout}}
		one, _ := c.keysOf(a)
		other, _ := c.keysOf(b)
		if one[0] == one[1] || one[0] == other[1] || one[1] == other[0] {
			t.Errorf("a hash and a payload have one name: %q, %q", one, other)
		}
		if a != b && (one[0] == other[0] || one[1] == other[1]) {
			t.Errorf("%q and %q have one name: %q, %q", a, b, one, other)
		}
	})
}
