package conns3

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// FuzzMark: whatever two documents are, with the marks of two versions they differ; and
// the mark changes nothing of the document.
func FuzzMark(f *testing.F) {
	f.Add(`{}`, "{}\n\t", int64(1), int64(3))
	f.Add("1", "1\n\t ", int64(5), int64(1))
	f.Fuzz(func(t *testing.T, one, other string, v, w int64) {
		if v == w || v < 1 || w < 1 {
			return
		}
		versions := func(n int64) []versioning.Version {
			at, err := versioning.Time(time.Unix(n%(1<<35), n%1e9))
			if err != nil {
				t.Fatal(err)
			}
			return []versioning.Version{versioning.Must(versioning.Number(n)), at}
		}
		for i, a := range versions(v) {
			b := versions(w)[i]
			first := appendMark([]byte(one), a)
			if a != b && bytes.Equal(first, appendMark([]byte(other), b)) {
				t.Fatalf("%q at %s is %q at %s", one, a, other, b)
			}
			if len(first) > len(one)+mostMark {
				t.Fatalf("a mark of %d bytes", len(first)-len(one))
			}
			if json.Valid([]byte(one)) != json.Valid(first) || !bytes.HasPrefix(first, []byte(one)) {
				t.Fatalf("%q became %q", one, first)
			}
		}
	})
}

// FuzzNames: a key has one name, and a name one key.
func FuzzNames(f *testing.F) {
	f.Add("a", "b", "p/", ".json")
	f.Add("..", ".", "", "")
	f.Add("a=2Fb", "a/b", "p/", "b")
	f.Fuzz(func(t *testing.T, one, other, prefix, suffix string) {
		if checkPrefix(prefix) != "" || strings.Contains(suffix, "/") {
			return
		}
		n := Config{Prefix: prefix, Suffix: suffix}.names("people")
		first, err := n.of(one)
		second, otherErr := n.of(other)
		if err != nil || otherErr != nil {
			return
		}
		if one != other && first == second {
			t.Fatalf("%q and %q are %q", one, other, first)
		}
		if key, err := n.key(first); err == nil && key != one {
			t.Fatalf("%q has the name %q, which has the key %q", one, first, key)
		}
		if rest := strings.TrimPrefix(first, n.prefix); strings.Contains(rest, "/") || rest == "." || rest == ".." {
			t.Fatalf("%q has the name %q", one, first)
		}
	})
}

// FuzzAnswers: whatever a store sends is read, or is not.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("<Error><Code>NoSuchKey</Code><Message>m</Message></Error>"), "7", "", "upsert", "a2V5")
	f.Add([]byte("<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>a%2Fb</Key></Contents></ListBucketResult>"), "x", "y", "z", "=")
	f.Fuzz(func(t *testing.T, body []byte, version, digest, op, key string) {
		if r := parseRefusal(body); r.Code != "" && !codeForm.MatchString(r.Code) {
			t.Fatalf("code %q", r.Code)
		}
		if p, err := parsePage(body); err != nil && len(p.Contents) > 0 {
			t.Fatal("a list that cannot be read has names")
		}
		h := http.Header{"Etag": {"x"}}
		for name, value := range map[string]string{metaVersion: version, metaDigest: digest, metaOp: op, metaKey: key} {
			h.Set(name, value)
		}
		s := stateOf(h)
		if (s.Foreign == "") != (!s.Version.IsZero() && (s.Op == events.Upsert || s.Op == events.Delete)) {
			t.Fatalf("%+v", s)
		}
		if _, ok := s.key(); ok && s.Foreign != "" {
			t.Fatal("a foreign object has a key")
		}
	})
}
