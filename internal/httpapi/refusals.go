package httpapi

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"
)

// refusalEvery is the time between two lines about refused tokens: whoever guesses
// must not fill the disk.
const refusalEvery = time.Second

// A refusalLog writes about requests without a token that will do. It is safe for
// concurrent use.
type refusalLog struct {
	log     zerolog.Logger
	limiter *rate.Limiter
	unsaid  atomic.Int64 // refusals since the last line
}

// refused leaves a trace of a request that was refused for its token: a count of each,
// and a line about some. The line never has the token, but the id of one that is known.
func (s *server) refused(c *caller, op *huma.Operation, p *Problem) {
	if p.Status != http.StatusUnauthorized && p.Status != http.StatusForbidden {
		return // it was not the token
	}
	if s.o.TokenRefused != nil {
		s.o.TokenRefused(p.Reason)
	}
	l := &s.refusals
	if !l.limiter.Allow() {
		l.unsaid.Add(1)
		return
	}
	line := l.log.Warn().Str("from", c.from).Str("reason", p.Reason).Str("operation", op.OperationID)
	if c.token != nil {
		line.Str("token", c.id())
	}
	if n := l.unsaid.Swap(0); n > 0 {
		line.Int64("unsaid", n) // others since the last line
	}
	line.Msg("token refused")
}
