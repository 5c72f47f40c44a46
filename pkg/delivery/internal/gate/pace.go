package gate

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/hms-utl/extsync/pkg/delivery/internal/flow"
)

const (
	// cutEvery is how often the pace is halved at most: the calls that were in flight when
	// the target had enough are one sign, not many.
	cutEvery = time.Second
	// cutWhile is how recently somebody must have got through, and another key been throttled.
	cutWhile = 10 * time.Second
	// growth is what is added each second, as a share of the pace that was halved: it is
	// reached again after ten seconds, so that the target is asked too much about once in
	// that time, and not more often. At twice that pace there is no bound any more.
	growth = 0.05
	// leastPace is one call in ten seconds.
	leastPace = 0.1
)

// A pace is how many updates a second go to a target that throttles some of them. There
// is no bound until it does.
type pace struct {
	limit *rate.Limiter // nil: no bound
	from  float64       // what it was when it was halved
	cut   time.Time     // when it was halved last
	grown time.Time     // up to when growth is in it

	second time.Time // when the second began in which count counts what got through
	count  int

	key   string    // that was throttled last, and had not failed before
	keyed time.Time // when
	rate  float64   // of the second before

	next time.Time // when somebody who waits for the pace may go
}

// delivered counts what got through.
func (p *pace) delivered(now time.Time) {
	if past := now.Sub(p.second); past >= time.Second {
		p.rate = float64(p.count) / past.Seconds()
		p.second, p.count = now, 0
	}
	p.count++
}

// throttled halves the pace when a second key is throttled: of one alone it is not known
// whether the channel is too fast or the target does not like it. Only those count that had
// not failed before.
func (p *pace) throttled(key string, now time.Time) (changed bool) {
	other := p.key != key && now.Sub(p.keyed) < cutWhile
	p.key, p.keyed = key, now
	if !other || now.Sub(p.cut) < cutEvery || now.Sub(p.second) >= cutWhile {
		return false
	}
	is := max(p.rate, float64(p.count))
	if p.limit != nil {
		is = min(is, float64(p.limit.Limit()))
	}
	p.from, p.cut, p.grown = max(is, 2*leastPace), now, now
	half := p.from / 2
	p.limit = rate.NewLimiter(rate.Limit(half), max(1, int(half/10)))
	return true
}

// take returns how many of want updates may go now, or after how long to ask again.
func (p *pace) take(want int, now time.Time) (n int, wait time.Duration) {
	if p.limit == nil {
		return want, 0
	}
	if steps := now.Sub(p.grown) / time.Second; steps > 0 {
		p.grown = p.grown.Add(steps * time.Second)
		grown := float64(p.limit.Limit()) + float64(steps)*growth*p.from
		if grown >= 2*p.from {
			p.limit = nil
			return want, 0
		}
		p.limit.SetLimitAt(now, rate.Limit(grown))
	}
	if n, wait = flow.Within(p.limit, want, now); n == 0 {
		p.next = now.Add(wait)
	}
	return n, wait
}

// slow says what holds back who waits for the pace; "" if nobody does.
func (p *pace) slow(now time.Time) string {
	if p.limit == nil || !p.next.After(now) {
		return ""
	}
	return fmt.Sprintf("the target throttles several keys: %.1f updates a second go to it for now", p.limit.Limit())
}
