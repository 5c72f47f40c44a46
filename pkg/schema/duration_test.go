package schema_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/schema"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "30s": 30 * time.Second, "1h30m": 90 * time.Minute, "-2h": -2 * time.Hour,
		"7d": 168 * time.Hour, "0d": 0, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, ".5d1m": 12*time.Hour + time.Minute,
		"+1d": 24 * time.Hour, "-1d6h": -30 * time.Hour, "106751d": 106751 * 24 * time.Hour,
	} {
		if got, err := schema.ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	for text, says := range map[string]string{
		"10":         `"10" is not a duration: it has no unit; write 10s, 10m, 10h or 10d`,
		"":           `"" is not a duration such as 500ms, 30s, 5m, 12h or 7d`,
		"yesterday":  "is not a duration such as",
		"d":          "is not a duration such as",
		"1d2d":       "is not a duration such as",
		"2h1d":       "is not a duration such as",
		"1d-2h":      "is not a duration such as",
		"--1d":       "is not a duration such as",
		"+-1d":       "is not a duration such as",
		"1w":         "is not a duration such as",
		"1 d":        "is not a duration such as",
		"106752d":    "is not a duration such as", // more than 292 years
		"106751d25h": "is not a duration such as",
	} {
		if got, err := schema.ParseDuration(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %s, %v; want %q", text, got, err, says)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"1d", "-1.5d3h", "30s", "10", "9223372036854775807d", "+.d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := schema.ParseDuration(text)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		want, err := time.ParseDuration(text)
		if err == nil && want != got {
			t.Errorf("%q is %s here and %s in the standard library", text, got, want)
		}
		if negative := strings.HasPrefix(text, "-"); got != 0 && negative != (got < 0) {
			t.Errorf("%q is %s", text, got)
		}
	})
}
