package schema

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// durationNoun names what ParseDuration takes.
const durationNoun = "a duration such as 500ms, 30s, 5m, 12h or 7d"

// ParseDuration reads what time.ParseDuration does, and days of 24 hours before the other
// units: 7d, 1d12h, 0.5d. Flags, variables, configurations and the HTTP API all use it.
// The error repeats up to 60 bytes of the text and says what the text should look like.
func ParseDuration(text string) (time.Duration, error) {
	unsigned := strings.TrimLeft(text, "+-")
	days, rest, found := strings.Cut(unsigned, "d")
	if !found || len(text)-len(unsigned) > 1 {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, notDuration(text)
		}
		return d, nil
	}
	d, ok := parseDays(days, rest)
	if !ok {
		return 0, notDuration(text)
	}
	if text[0] == '-' {
		return -d, nil
	}
	return d, nil
}

// parseDays adds up the number before the d and the units behind it, both without a
// sign.
func parseDays(days, rest string) (time.Duration, bool) {
	if days == "" || strings.Trim(days, "0123456789.") != "" || strings.ContainsAny(rest, "+-") {
		return 0, false
	}
	hours, err := time.ParseDuration(days + "h") // of one hour of each day
	if err != nil || hours > math.MaxInt64/24 {
		return 0, false
	}
	if rest == "" {
		return 24 * hours, true
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more > math.MaxInt64-24*hours {
		return 0, false
	}
	return 24*hours + more, true
}

func notDuration(text string) error {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return fmt.Errorf("%s is not a duration: it has no unit; write %[2]ss, %[2]sm, %[2]sh or %[2]sd", quoted(text), clip(text))
	}
	return fmt.Errorf("%s is not %s", quoted(text), durationNoun)
}
