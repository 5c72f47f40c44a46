package conns3

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// TestStored: what the server gives back is what was written: content, content type,
// metadata, and what is served with the object.
func TestStored(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	const served = "headers: {Cache-Control: no-store, Content-Disposition: attachment}\n"
	for name, c := range map[string]struct {
		config, payload, contentType, stored string
	}{
		"json":  {"", "{\"a\": 1}\n", "application/merge-patch+json", "{\"a\": 1}\n\n\t\t\t"}, // 7 in base 2
		"bytes": {"content: bytes\n", "a;b\r\n1;\x00\r\n", "text/csv; charset=utf-8; header=present", "a;b\r\n1;\x00\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := opened(t, s.config(served+c.config))
			a := attempt(name, 7, c.payload)
			a.ContentType = c.contentType
			wantClass(t, "upsert", apply(t, o, a), connectors.OK, "")
			got := s.ask(t, http.MethodGet, objectPath(t, name), nil, "")
			if got.body != c.stored {
				t.Errorf("it holds %q", got.body)
			}
			for header, want := range map[string]string{
				"Content-Type": c.contentType, "Cache-Control": "no-store", "Content-Disposition": "attachment",
				metaVersion: "7", metaDigest: a.Digest.String(), metaOp: "upsert", metaKey: "",
			} {
				if value := got.header.Get(header); value != want {
					t.Errorf("%s: %q, want %q", header, value, want)
				}
			}
			wantClass(t, "delete", apply(t, o, attempt(name, 8, "")), connectors.OK, "")
			if got := s.ask(t, http.MethodGet, objectPath(t, name), nil, ""); strings.TrimSpace(got.body) != "" {
				t.Errorf("the tombstone holds %q", got.body)
			}
		})
	}
}

// TestCompare: what somebody has changed at the store is found, and nothing else.
func TestCompare(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	o := opened(t, s.config("headers: {Cache-Control: no-store}\n"))
	a := attempt("k", 7, `{"n":7}`)
	put := func(body string, change map[string]string) {
		t.Helper()
		header := http.Header{
			"Content-Type": {"application/json"}, "Cache-Control": {"no-store"},
			metaVersion: {"7"}, metaDigest: {a.Digest.String()}, metaOp: {"upsert"},
		}
		for name, value := range change {
			header.Set(name, value)
		}
		s.put(t, objectPath(t, "k"), header, body)
	}
	const whole = "{\"n\":7}\n\t\t\t"
	look := func(what string, a connectors.Attempt, held int64, changed ...string) {
		t.Helper()
		got, err := o.Compare(t.Context(), []connectors.Attempt{a})
		if err != nil {
			t.Fatal(err)
		}
		var want connectors.Held
		if held != 0 {
			want.Version = testkit.Number(held)
		}
		if got[0].Version != want.Version || !slices.Equal(got[0].Changed, changed) {
			t.Errorf("%s: %s, changed %q", what, got[0].Version, got[0].Changed)
		}
	}
	look("nothing", a, 0)
	wantClass(t, "upsert", apply(t, o, a), connectors.OK, "")
	look("as it was written", a, 7)
	put(whole, nil)
	look("the same by hand", a, 7)
	put(whole+" ", nil)
	look("more behind it", a, 7, "content")
	put("", nil)
	look("nothing in it", a, 7, "content")
	put(whole, map[string]string{"Content-Type": "text/plain", "Cache-Control": "private"})
	look("served in another way", a, 7, "content-type", "cache-control")
	put(whole, map[string]string{metaDigest: strings.Repeat("0", 63) + "1"})
	look("another digest", a, 7, strings.ToLower(metaDigest))
	put(whole, map[string]string{metaVersion: "none"})
	look("foreign", a, 0)
	look("foreign after a delete", attempt("k", 9, ""), 0, "content")
	broken := attempt("k", 7, "{")
	put(whole, nil)
	look("what cannot be written", broken, 7, "content")
}

// TestList: keys in pages, also those whose names are hashes, and nothing else.
func TestList(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	o := opened(t, s.config(""))
	want := []string{"a/b", "b", "c.d", "日本語", strings.Repeat("long ", 200)}
	for i, key := range want {
		wantClass(t, key, apply(t, o, attempt(key, int64(i)+1, `{}`)), connectors.OK, "")
	}
	base := "/" + testBucket + "/conformance/"
	for _, foreign := range []string{"x.csv", "not%20a%20key.json", "below/x.json", "%3D%3DNOTAHASH.json"} {
		s.put(t, base+foreign, nil, "theirs")
	}
	for _, limit := range []int{1, 2, 5, 1000} {
		var all []string
		for after := ""; ; {
			keys, err := o.List(t.Context(), after, limit)
			if err != nil || len(keys) > limit {
				t.Fatalf("%d keys, %v", len(keys), err)
			}
			all = append(all, keys...)
			if len(keys) < limit {
				break
			}
			after = keys[len(keys)-1]
		}
		slices.Sort(all)
		sorted := slices.Sorted(slices.Values(want))
		if !slices.Equal(all, sorted) {
			t.Errorf("pages of %d: %.20q", limit, all)
		}
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	o := opened(t, configFor("https://s3.example/below", "prefix: to/them/\naddressing: host\nheaders: {x-amz-acl: private}\n"))
	p, err := o.Preview(t.Context(), attempt("a b", 5, `{}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := "https://" + testBucket + ".s3.example/below/to/them/a%3D20b.json"; p.Method != http.MethodPut || p.URL != want {
		t.Errorf("%s %s, want %s", p.Method, p.URL, want)
	}
	if string(p.Body) != "{}\n\t \t" {
		t.Errorf("body %q", p.Body)
	}
	for name, want := range map[string]string{"Authorization": "***", "If-None-Match": "*", metaVersion: "5", "X-Amz-Acl": "private"} {
		if p.Headers[name] != want {
			t.Errorf("%s: %q", name, p.Headers[name])
		}
	}
	if _, err := o.Preview(t.Context(), attempt("k", 5, "{")); connectors.ClassOf(err) != connectors.Permanent {
		t.Errorf("of what cannot be written: %v", err)
	}
}

// TestLongestKey: the name, and the metadata with the key, are within S3's limits.
func TestLongestKey(t *testing.T) {
	t.Parallel()
	c := &connector{Config: Config{Content: jsonContent}, client: &client{headers: http.Header{}}, names: names{strings.Repeat("p", 511) + "/", strings.Repeat("s", 64)}}
	for _, key := range []string{strings.Repeat("k", events.MaxKeyLen), strings.Repeat("\x01", events.MaxKeyLen)} {
		a := attempt(key, 1<<62, `{}`)
		o, err := c.object(&a)
		if err != nil || len(o.name) > 1024 {
			t.Fatalf("a name of %d bytes, %v", len(o.name), err)
		}
		size := 0
		for name := range o.header {
			if meta, ok := strings.CutPrefix(name, "X-Amz-Meta-"); ok {
				size += len(meta) + len(o.header.Get(name))
			}
		}
		if size > 2048 {
			t.Errorf("metadata of %d bytes", size)
		}
		s := stateOf(o.header)
		if got, ok := s.key(); !ok || got != key {
			t.Errorf("the key comes back as %.20q, %v", got, ok)
		}
		if _, err := c.names.key(o.name); err == nil {
			t.Error(fmt.Sprintf("%.20q", o.name), "is taken for a key")
		}
	}
}
