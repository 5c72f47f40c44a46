package connhttp

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
	"github.com/hms-utl/extsync/pkg/internal/jq"
	"github.com/hms-utl/extsync/pkg/schema"
)

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
			return httpkit.Until(time.Unix(int64(min(seconds, math.MaxInt32*1024)), 0), now)
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
			return httpkit.Until(at, now)
		}
	}
	return 0
}
