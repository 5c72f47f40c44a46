package connfile

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestVersionNamesSortAsVersions(t *testing.T) {
	at := func(text string) versioning.Version {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return versioning.Must(versioning.Time(at))
	}
	number := func(n int64) versioning.Version { return versioning.Must(versioning.Number(n)) }
	for _, list := range [][]versioning.Version{
		{number(1), number(9), number(10), number(1<<53 + 1), number(math.MaxInt64)},
		{at("0001-01-01T00:00:00Z"), at("1969-12-31T23:59:59.999999999Z"), at("2026-03-01T12:00:00Z"), at("2026-03-01T12:00:00.000000001Z"), at("9999-12-31T23:59:59.999999999Z")},
	} {
		before := ""
		for _, v := range list {
			name := versionName(v)
			if got, ok := parseVersion(name); !ok || got != v {
				t.Errorf("%s is %q, which is read as %s, %v", v, name, got, ok)
			}
			if name <= before {
				t.Errorf("%q does not sort behind %q", name, before)
			}
			before = name
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, name := range []string{
		"0000000000000000007.json", ".0000000000000000007.tag", ".0000000000000000007.json.0123456789abcdef.tmp", "20260301t120000-123456789z.deleted",
		"", ".", "..", "0000000000000000000.json", "9999999999999999999.json", ".nfs000", "+000000000000000007.json", "20260230t120000-123456789z.json", "0000000000000000007",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		e, ok := parseEntry(name)
		if !ok {
			return
		}
		rest := strings.TrimPrefix(name, ".")
		if e.version.IsZero() || !strings.HasPrefix(rest, versionName(e.version)+".") || (e.kind == contentEntry) != (rest == name) {
			t.Errorf("%q is read as %+v", name, e)
		}
	})
}

func FuzzParseTag(f *testing.F) {
	f.Add([]byte(`{"key":"k","version":"7","digest":"029e69d055a8bdaea14f248c2d48d5216a7053116d1bc05073ecd69cd26271f9","op":"upsert"}`))
	f.Add([]byte(`{"version":7}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseTag(data)
		if (err == nil) == (got.Version.IsZero() || got.Digest.IsZero()) {
			t.Errorf("%q is read as %+v, %v", data, got, err)
		}
	})
}

func FuzzParseHostKey(f *testing.F) {
	for _, text := range []string{
		"SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s", "SHA256:", "@cert-authority *.example ssh-ed25519 AAAA", "ssh-ed25519 AAAA", "host ssh-rsa AAAAB3NzaC1yc2E=",
		"github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl", "|1|a|b ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := parseHostKey(text, "github.com:22")
		if err == nil && !strings.HasPrefix(k.fingerprint, fingerprintMark) {
			t.Errorf("%q gives %+v", text, k)
		}
	})
}

func FuzzSplitCSV(f *testing.F) {
	for _, text := range []string{"a,b\n1,2\n", "\"a\nb\",c\r\n1,2", "a", "\n1", "\"a\"\"\n\",b\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		header, rows, ok := splitCSV(data)
		if ok && (string(header)+string(rows) != string(data) || !strings.HasSuffix(string(header), "\n")) {
			t.Errorf("%q is split into %q and %q", data, header, rows)
		}
	})
}
