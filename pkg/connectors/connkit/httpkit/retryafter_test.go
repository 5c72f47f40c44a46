package httpkit

import (
	"net/http"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 5, 4, 10, 0, 0, 500_000_000, time.UTC)
	for _, c := range []struct {
		name, text string
		want       time.Duration
	}{
		{"none", "", 0},
		{"seconds", "120", 2 * time.Minute},
		{"an hour", "3600", time.Hour},
		{"spaces", " 5 ", 5 * time.Second},
		{"zero", "0", 0},
		{"more than the most", "100000", connectors.MaxRetryAfter},
		{"more than a number can be", "99999999999999999999999", connectors.MaxRetryAfter},
		{"negative", "-5", 0},
		{"fraction", "1.5", 0},
		{"words", "soon", 0},
		{"date", "Mon, 04 May 2026 10:01:00 GMT", time.Minute}, // 59.5 s rounded up
		{"date in the old form", "Monday, 04-May-26 10:00:30 GMT", 30 * time.Second},
		{"date in C's form", "Mon May  4 10:00:30 2026", 30 * time.Second},
		{"past date", "Mon, 04 May 2026 09:00:00 GMT", 0},
		{"far date", "Fri, 31 Dec 9999 23:59:59 GMT", connectors.MaxRetryAfter},
		{"no date", "Mon, 99 May 2026 10:01:00 GMT", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := RetryAfter(http.Header{"Retry-After": {c.text}}, now); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, text := range []string{"", "1", "3600", "-1", "Mon, 04 May 2026 10:01:00 GMT", "9223372036854775808"} {
		f.Add(text, int64(1_700_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, now int64) {
		got := RetryAfter(http.Header{"Retry-After": {text}}, time.Unix(now%(1<<40), 0))
		if got < 0 || got > connectors.MaxRetryAfter || got%time.Second != 0 {
			t.Errorf("%q gives %v", text, got)
		}
	})
}
