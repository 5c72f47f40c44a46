package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// An address may fail so often at once, and then once in so long.
	maxGuesses = 10
	guessEvery = 6 * time.Second
	// Somebody may log in so often at once, and then once in so long.
	maxLogins  = 30
	loginEvery = 2 * time.Second
	// maxGuessers bounds how many of either are remembered.
	maxGuessers = 10_000
)

// guesses bounds how often an address fails to log in, and how often somebody does log in.
// It is safe for concurrent use.
type guesses struct {
	mu      sync.Mutex
	failing map[string]*rate.Limiter // by address
	logins  map[string]*rate.Limiter // by caller
}

func limiterOf(known *map[string]*rate.Limiter, id string, every time.Duration, most int) *rate.Limiter {
	if *known == nil || len(*known) >= maxGuessers { // who fills it begins anew, with all others
		*known = map[string]*rate.Limiter{}
	}
	l := (*known)[id]
	if l == nil {
		l = rate.NewLimiter(rate.Every(every), most)
		(*known)[id] = l
	}
	return l
}

// check refuses an address that has failed too often.
func (g *guesses) check(from string) *Problem {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.failing[network(from)]; l != nil && l.Tokens() < 1 {
		return tooOften(guessEvery)
	}
	return nil
}

// failed notes that an address has failed.
func (g *guesses) failed(from string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	limiterOf(&g.failing, network(from), guessEvery, maxGuesses).Allow()
}

// begin counts a login.
func (g *guesses) begin(who string) *Problem {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !limiterOf(&g.logins, who, loginEvery, maxLogins).Allow() {
		return tooOften(loginEvery)
	}
	return nil
}

func tooOften(wait time.Duration) *Problem {
	p := problem(http.StatusTooManyRequests, "too_many_logins", "too many logins: wait a moment")
	p.retryAfter = wait
	return p
}

// network is what counts as one address: of IPv6 what one customer usually has. A gateway
// may name any.
func network(from string) string {
	if _, named, ok := strings.Cut(from, "which names "); ok {
		from = named
	}
	host, _, err := net.SplitHostPort(from)
	if err != nil {
		return from
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Is4() || ip.Is4In6() {
		return host
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return host
	}
	return prefix.String()
}
