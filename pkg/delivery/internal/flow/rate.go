package flow

import (
	"time"

	"golang.org/x/time/rate"
)

// Within takes n tokens of a limit, or as many as there are, and returns how many; 0 and
// after how long to ask again if there is none.
func Within(limit *rate.Limiter, n int, now time.Time) (taken int, wait time.Duration) {
	if n = min(n, int(limit.TokensAt(now))); n > 0 && limit.AllowN(now, n) {
		return n, 0
	}
	missing := 1 - limit.TokensAt(now)
	return 0, max(time.Millisecond, time.Duration(missing/float64(limit.Limit())*float64(time.Second)))
}
