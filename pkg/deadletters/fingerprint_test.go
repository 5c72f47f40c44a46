package deadletters_test

import (
	"testing"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/deadletters"
)

func TestPattern(t *testing.T) {
	for _, c := range [][2]string{
		{"", ""},
		{"no thanks", "no thanks"},
		{"status 422 Unprocessable", "status # Unprocessable"},
		{"patient p-2023-vax is unknown", "patient # is unknown"},
		{`column "größe" of "x" is null`, "column ? of ? is null"},
		{"it can't take the user's key", "it can't take the user's key"},
		{"it wants 'a b', not 'c'", "it wants ?, not ?"},
		{"an open \" quote", "an open \" quote"},
		{`a \" in "x \" y" stays`, `a \" in ? stays`},
		{"dial tcp 10.0.0.1:443: connection refused", "dial tcp #: connection refused"},
		{"dial tcp 192.168.13.21:8443: connection refused", "dial tcp #: connection refused"},
		{"at 2026-05-01T12:00:00.123Z, later", "at #, later"},
		{"at 2026-05-01T12:00:00+02:00", "at #"},
		{"id 6f9619ff-8b86-d011-b42d-00c04fc964ff is taken", "id # is taken"},
		{"digest deadbeef differs from effaced", "digest # differs from effaced"},
		{"two\n\t words ", "two words"},
		{"1, 2 and 3", "#, # and #"},
		{"7 of 8/9", "# of #"},
		{"ends in 7.", "ends in #."},
		{"Größe 7 für Zoë", "Größe # für Zoë"},
		{"duplicate key value violates unique constraint `uq_1` (key)=(17) already exists", "duplicate key value violates unique constraint ? (key)=(#) already exists"},
	} {
		if got := deadletters.Pattern(c[0]); got != c[1] {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"a 1", `"`, "'x' 1.2.3.", "\xff1", "deadbeef:1", "#.1", "a'b'c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := deadletters.Pattern(s)
		if utf8.ValidString(s) && !utf8.ValidString(got) || len(got) > len(s)+1 {
			t.Fatalf("%q: %q", s, got)
		}
	})
}
