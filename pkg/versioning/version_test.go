package versioning_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/hms-utl/extsync/pkg/versioning"
)

func parse(t testing.TB, s string) versioning.Version {
	t.Helper()
	v, err := versioning.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%q): %v", s, err)
	}
	return v
}

func TestParse(t *testing.T) {
	tests := map[string]struct{ in, canonical string }{
		"the smallest number":    {"1", "1"},
		"the largest number":     {"9223372036854775807", "9223372036854775807"},
		"above 2^53":             {"9007199254740993", "9007199254740993"},
		"UTC":                    {"2024-02-29T12:00:00Z", "2024-02-29T12:00:00Z"},
		"nine digits":            {"2024-01-01T00:00:00.123456789Z", "2024-01-01T00:00:00.123456789Z"},
		"zeros behind":           {"2024-01-01T00:00:00.120000000Z", "2024-01-01T00:00:00.12Z"},
		"a zone":                 {"2024-01-01T01:30:00.000000001+05:30", "2023-12-31T20:00:00.000000001Z"},
		"a zone west":            {"2024-01-01T01:00:00-08:00", "2024-01-01T09:00:00Z"},
		"before 1970":            {"1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z"},
		"the first instant":      {"0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"},
		"the last instant":       {"9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"},
		"midnight of a leap day": {"2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := parse(t, tt.in)
			if got := v.String(); got != tt.canonical {
				t.Errorf("Parse(%q) = %s, want %s", tt.in, got, tt.canonical)
			}
			if again := parse(t, v.String()); again != v {
				t.Errorf("%s read back is %s", v, again)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":                 "",
		"zero":                  "0",
		"negative":              "-1",
		"plus":                  "+1",
		"leading zero":          "07",
		"a fraction":            "7.0",
		"an exponent":           "7e0",
		"2^63":                  "9223372036854775808",
		"20 digits":             "10000000000000000000",
		"spaces":                " 7",
		"a line break":          "7\n",
		"other digits":          "\u0667",
		"a word":                "latest",
		"a date":                "2024-01-01",
		"no zone":               "2024-01-01T00:00:00",
		"ten digits":            "2024-01-01T00:00:00.1234567890Z",
		"no such day":           "2023-02-29T00:00:00Z",
		"no such hour":          "2024-01-01T24:00:00Z",
		"one digit of the hour": "2024-01-01T1:00:00Z",
		"a comma":               "2024-01-01T00:00:00,5Z",
		"a comma, ten digits":   "2024-01-01T00:00:00,1234567890Z",
		"a point and no digit":  "2024-01-01T00:00:00.Z",
		"a zone of 24 hours":    "2024-01-01T00:00:00+24:00",
		"a leap second":         "2016-12-31T23:59:60Z",
		"year 0":                "0000-06-01T00:00:00Z",
		"year 0 in UTC":         "0001-01-01T00:00:00+01:00",
		"year 10000 in UTC":     "9999-12-31T23:59:59-01:00",
		"far too long":          strings.Repeat("9", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			v, err := versioning.Parse(in)
			if !errors.Is(err, versioning.ErrSyntax) {
				t.Fatalf("Parse = %q, %v, want ErrSyntax", v, err)
			}
			if !v.IsZero() {
				t.Errorf("a version came with the error: %s", v)
			}
			if len(err.Error()) > 200 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestConstructors(t *testing.T) {
	if _, err := versioning.Number(0); !errors.Is(err, versioning.ErrSyntax) {
		t.Errorf("Number(0): %v", err)
	}
	if _, err := versioning.Number(math.MinInt64); !errors.Is(err, versioning.ErrSyntax) {
		t.Errorf("Number(MinInt64): %v", err)
	}
	// A monotonic reading and a zone do not make another version.
	now := time.Now()
	zoned := now.In(time.FixedZone("", -11*3600))
	if versioning.Must(versioning.Time(now)) != versioning.Must(versioning.Time(zoned.Round(0))) {
		t.Error("one instant gave two versions")
	}
	for _, year := range []int{-1, 0, 10000} {
		if _, err := versioning.Time(time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)); !errors.Is(err, versioning.ErrSyntax) {
			t.Errorf("year %d: %v", year, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Must did not panic")
		}
	}()
	versioning.Must(versioning.Number(0))
}

func TestAccessors(t *testing.T) {
	var none versioning.Version
	number, instant := parse(t, "7"), parse(t, "2024-01-01T00:00:00.5+01:00")
	if n, ok := number.Int64(); !ok || n != 7 {
		t.Errorf("Int64 = %d, %t", n, ok)
	}
	if _, ok := instant.Int64(); ok {
		t.Error("a time has a number")
	}
	if at, ok := instant.AsTime(); !ok || !at.Equal(time.Date(2023, 12, 31, 23, 0, 0, 5e8, time.UTC)) || at.Location() != time.UTC {
		t.Errorf("AsTime = %v, %t", at, ok)
	}
	if _, ok := number.AsTime(); ok {
		t.Error("a number has a time")
	}
	if _, ok := none.Int64(); ok || !none.IsZero() || none.String() != "" || none.Kind() != versioning.None {
		t.Errorf("the zero version = %q of kind %d", none, none.Kind())
	}
	if number.Kind() != versioning.Numbered || instant.Kind() != versioning.Timed {
		t.Errorf("kinds = %d, %d", number.Kind(), instant.Kind())
	}
}

func TestCompare(t *testing.T) {
	// In ascending order within each kind.
	numbers := []string{"", "1", "2", "9007199254740992", "9007199254740993", "9223372036854775807"}
	times := []string{
		"", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59.9Z", "1970-01-01T00:00:00Z",
		"2024-01-01T00:00:00+02:00", "2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000000001Z", "9999-12-31T23:59:59Z",
	}
	for _, list := range [][]string{numbers, times} {
		for i, a := range list {
			for j, b := range list {
				va, vb := unmarshal(t, a), unmarshal(t, b)
				if got, err := va.Compare(vb); err != nil || got != cmp.Compare(i, j) {
					t.Errorf("%q against %q = %d, %v, want %d", a, b, got, err, cmp.Compare(i, j))
				}
			}
		}
	}
	if _, err := parse(t, "7").Compare(parse(t, "2024-01-01T00:00:00Z")); !errors.Is(err, versioning.ErrKindMismatch) {
		t.Errorf("a number against a time: %v", err)
	}
}

func unmarshal(t *testing.T, s string) (v versioning.Version) {
	t.Helper()
	if err := v.UnmarshalText([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return v
}

// Compare is a total order within each kind: antisymmetric, transitive, and
// equal only to itself.
func TestCompareIsAnOrder(t *testing.T) {
	property := func(x, y, z anyVersion) bool {
		a, b, c := x.Version, y.Version, z.Version
		ab, errAB := a.Compare(b)
		ba, errBA := b.Compare(a)
		if (errAB == nil) != (errBA == nil) || ab != -ba {
			t.Logf("%s against %s: %d and %d", a, b, ab, ba)
			return false
		}
		if errAB == nil && (ab == 0) != (a == b) {
			t.Logf("%s and %s compare %d", a, b, ab)
			return false
		}
		bc, errBC := b.Compare(c)
		ac, errAC := a.Compare(c)
		if errAB == nil && errBC == nil && errAC == nil && ab <= 0 && bc <= 0 && ac > 0 {
			t.Logf("%s <= %s <= %s but %d", a, b, c, ac)
			return false
		}
		return true
	}
	if err := quick.Check(property, quickConfig(t)); err != nil {
		t.Error(err)
	}
}

func TestTextAndJSONRoundTrip(t *testing.T) {
	property := func(x anyVersion) bool {
		text, err := x.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(map[string]any{"v": x.Version})
		if err != nil {
			t.Fatal(err)
		}
		var fromText versioning.Version
		var fromJSON struct{ V versioning.Version }
		if err := fromText.UnmarshalText(text); err != nil {
			t.Logf("text %s: %v", text, err)
			return false
		}
		if err := json.Unmarshal(data, &fromJSON); err != nil {
			t.Logf("JSON %s: %v", data, err)
			return false
		}
		return fromText == x.Version && fromJSON.V == x.Version
	}
	if err := quick.Check(property, quickConfig(t)); err != nil {
		t.Error(err)
	}
}

func TestUnmarshalJSON(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"a string":          {`"7"`, "7"},
		"a number":          {`7`, "7"},
		"a number at 2^53":  {`9007199254740993`, "9007199254740993"},
		"the largest":       {`9223372036854775807`, "9223372036854775807"},
		"a time":            {`"2024-01-01T02:00:00+02:00"`, "2024-01-01T00:00:00Z"},
		"an escaped string": {`"\u0037"`, "7"},
		"null":              {`null`, ""},
		"an empty string":   {`""`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := parse(t, "1")
			if err := json.Unmarshal([]byte(tt.in), &v); err != nil {
				t.Fatal(err)
			}
			if v.String() != tt.want {
				t.Errorf("%s = %q, want %q", tt.in, v, tt.want)
			}
		})
	}
	for _, in := range []string{`7.0`, `7e0`, `-1`, `0`, `9223372036854775808`, `true`, `{}`, `[7]`, `"7.0"`, `"0"`, `" 7"`, `1e400`} {
		t.Run(fmt.Sprintf("refuses %s", in), func(t *testing.T) {
			v := parse(t, "1")
			err := json.Unmarshal([]byte(in), &v)
			if !errors.Is(err, versioning.ErrSyntax) {
				t.Fatalf("%s = %q, %v, want ErrSyntax", in, v, err)
			}
			if v.String() != "1" {
				t.Errorf("a refused value changed the version to %q", v)
			}
		})
	}
}

func TestVersionAsMapKey(t *testing.T) {
	in := map[versioning.Version]int{parse(t, "9007199254740993"): 1, parse(t, "2024-01-01T00:00:00Z"): 2}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out map[versioning.Version]int
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	for v, n := range in {
		if out[v] != n {
			t.Errorf("%s = %d, want %d", v, out[v], n)
		}
	}
}
