package connhttp

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/internal/jq"
	"github.com/hms-utl/extsync/pkg/schema"
)

// retryAfter reads the header Retry-After: seconds, or an HTTP date. It returns a
// whole number of seconds in 0..connectors.MaxRetryAfter; 0 if there is no header, if it
// cannot be read, or if the date is past.
func retryAfter(h http.Header, now time.Time) time.Duration {
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
	return until(at, now)
}

// until returns the whole seconds up to a time, 0 if it is past.
func until(at, now time.Time) time.Duration {
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

// aTime is a number of seconds that is no wait but a moment, in seconds since 1970.
const aTime = 1e9

// waitOf returns how long the value of an expression asks to wait, in
// 0..connectors.MaxRetryAfter: seconds, a duration, a date, or a moment in seconds since
// 1970. It is 0 for what is none of them.
func waitOf(value any, now time.Time) time.Duration {
	text, isText := value.(string)
	if !isText {
		if value == nil {
			return 0
		}
		encoded, err := jq.Encode(value)
		if err != nil {
			return 0
		}
		text = string(encoded)
	}
	text = strings.TrimSpace(text)
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		switch {
		case math.IsNaN(seconds) || seconds <= 0:
			return 0
		case seconds >= aTime:
			return until(time.Unix(int64(min(seconds, math.MaxInt32*1024)), 0), now)
		case seconds >= connectors.MaxRetryAfter.Seconds():
			return connectors.MaxRetryAfter
		}
		return time.Duration(math.Ceil(seconds*1000)) * time.Millisecond
	}
	if wait, err := schema.ParseDuration(text); err == nil {
		return min(max(0, wait), connectors.MaxRetryAfter)
	}
	for _, parse := range []func(string) (time.Time, error){
		http.ParseTime, func(text string) (time.Time, error) { return time.Parse(time.RFC3339, text) },
	} {
		if at, err := parse(text); err == nil {
			return until(at, now)
		}
	}
	return 0
}
