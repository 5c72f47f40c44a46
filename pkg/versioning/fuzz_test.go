package versioning_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/hms-utl/extsync/pkg/versioning"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "0", "1", "007", "9007199254740993", "9223372036854775807", "9223372036854775808",
		"2024-02-29T12:00:00Z", "2024-01-01T00:00:00.123456789+05:30", "2024-01-01T00:00:00,5Z",
		"0001-01-01T00:00:00+14:00", "9999-12-31T23:59:60Z", "2024-01-01t00:00:00z", "2024-01-01T00:00:00.1234567899Z",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := versioning.Parse(s)
		if err != nil {
			if !errors.Is(err, versioning.ErrSyntax) || !v.IsZero() {
				t.Fatalf("Parse(%q) = %q, %v", s, v, err)
			}
			return
		}
		canonical := v.String()
		if len(canonical) == 0 || len(canonical) > versioning.MaxTextLen {
			t.Fatalf("Parse(%q) has the text %q", s, canonical)
		}
		again, err := versioning.Parse(canonical)
		if err != nil || again != v || again.String() != canonical {
			t.Fatalf("Parse(%q) = %q, read back %q, %v", s, canonical, again, err)
		}
		if order, err := v.Compare(again); err != nil || order != 0 {
			t.Fatalf("%q against itself = %d, %v", canonical, order, err)
		}
	})
}

func FuzzVersionJSON(f *testing.F) {
	for _, s := range []string{
		`7`, `"7"`, `null`, `""`, `7.0`, `-1`, `9007199254740993`, `1e3`, `"2024-01-01T00:00:00.1+01:00"`, `"\u0037"`, ` 7 `, `{}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v versioning.Version
		if err := json.Unmarshal(data, &v); err != nil {
			if !v.IsZero() {
				t.Fatalf("%q gave %q and %v", data, v, err)
			}
			return
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var again versioning.Version
		if err := json.Unmarshal(out, &again); err != nil || again != v {
			t.Fatalf("%q gave %s, read back %q, %v", data, out, again, err)
		}
	})
}
