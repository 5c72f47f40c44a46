package connhttp

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	for _, c := range []struct{ name, template, key, version, want string }{
		{"no placeholder", "https://h/a?b=c", "k", "1", "https://h/a?b=c"},
		{"path", "https://h/a/{key}/v/{version}", "k-1_2.3~", "7", "https://h/a/k-1_2.3~/v/7"},
		{"query", "https://h/a?k={key}&v={version}", "a&b=c#d+e f", "2026-01-02T03:04:05Z", "https://h/a?k=a%26b%3Dc%23d%2Be%20f&v=2026-01-02T03%3A04%3A05Z"},
		{"a slash stays in its segment", "https://h/a/{key}", "../../admin", "1", "https://h/a/..%2F..%2Fadmin"},
		{"a question mark too", "https://h/a/{key}", "x?y#z", "1", "https://h/a/x%3Fy%23z"},
		{"an escape is escaped", "https://h/a/{key}", "%2F", "1", "https://h/a/%252F"},
		{"a placeholder is no placeholder", "https://h/{key}/{version}", "{version}", "1", "https://h/%7Bversion%7D/1"},
		{"other alphabets", "https://h/{key}", "é日\x00\r\n", "1", "https://h/%C3%A9%E6%97%A5%00%0D%0A"},
		{"dots beside others", "https://h/a/x{key}", "..", "1", "https://h/a/x.."},
		{"dots in the query", "https://h/a?k={key}", "..", "1", "https://h/a?k=.."},
	} {
		t.Run(c.name, func(t *testing.T) {
			tmpl, err := parseTemplate(c.template)
			if err != nil {
				t.Fatal(err)
			}
			u, err := tmpl.expand(c.key, c.version, nil)
			if err != nil {
				t.Fatal(err)
			}
			if u.String() != c.want {
				t.Errorf("got %s, want %s", u, c.want)
			}
		})
	}
}

func TestDotSegments(t *testing.T) {
	for _, c := range [][2]string{{"https://h/a/{key}", "."}, {"https://h/a/{key}/b", ".."}, {"https://h/{key}?x", ".."}, {"https://h/.{key}", "."}} {
		tmpl, err := parseTemplate(c[0])
		if err != nil {
			t.Fatal(err)
		}
		if u, err := tmpl.expand(c[1], "1", nil); !errors.Is(err, errDotSegment) {
			t.Errorf("%s with %q gives %v, %v", c[0], c[1], u, err)
		}
	}
}

// FuzzExpand: whatever the key, it comes back out of the place it was put into,
// and nothing else of the URL changes.
func FuzzExpand(f *testing.F) {
	for _, key := range []string{"k", "a/b", "..", "%2e%2e", "?#&=", "{key}", "\x00", "é", "a;b", "@host"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		tmpl, err := parseTemplate("https://example.org/a/{key}/b?k={key}&v={version}")
		if err != nil {
			t.Fatal(err)
		}
		u, err := tmpl.expand(key, "7", nil)
		if err != nil {
			if key != "." && key != ".." {
				t.Errorf("%q: %v", key, err)
			}
			return
		}
		again, err := url.Parse(u.String()) // as a server would read it
		if err != nil {
			t.Fatal(err)
		}
		segments := strings.Split(strings.TrimPrefix(again.EscapedPath(), "/"), "/")
		if len(segments) != 3 || again.Host != "example.org" || again.Fragment != "" {
			t.Fatalf("%q gives %s", key, u)
		}
		if back, err := url.PathUnescape(segments[1]); err != nil || back != key {
			t.Errorf("%q came back as %q from the path", key, back)
		}
		if q := again.Query(); q.Get("k") != key || q.Get("v") != "7" || len(q) != 2 {
			t.Errorf("%q gives the query %v", key, q)
		}
	})
}
