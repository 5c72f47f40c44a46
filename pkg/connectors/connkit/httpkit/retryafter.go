package httpkit

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// RetryAfter reads the header Retry-After: seconds, or an HTTP date. It returns a
// whole number of seconds in 0..connectors.MaxRetryAfter; 0 if there is no header, if it
// cannot be read, or if the date is past.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if seconds, ok := digits(text); ok {
		return min(time.Duration(seconds)*time.Second, connectors.MaxRetryAfter)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return Until(at, now)
}

// Until returns the whole seconds up to a time, 0 if it is past.
func Until(at, now time.Time) time.Duration {
	wait := min(max(0, at.Sub(now)), connectors.MaxRetryAfter)
	// Rounded up: our clock has fractions of a second, and early is too early.
	return (wait + time.Second - 1).Truncate(time.Second)
}

// digits reads a number without sign; what is too large to matter is cut off.
func digits(text string) (int64, bool) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if limit := int64(connectors.MaxRetryAfter / time.Second); err != nil || n > limit {
		return limit, true
	}
	return n, true
}
