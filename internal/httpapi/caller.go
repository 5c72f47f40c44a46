package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/tokens"
)

// A caller is who makes a request.
type caller struct {
	// token says what the caller may do; nil: somebody on this machine, while there are no
	// tokens. Of somebody who has logged in at a provider it is no token that exists.
	token   *tokens.Token
	limiter *rate.Limiter
	from    string
	session *sessions.Session // nil: the request came with a token
	grants  []tokens.Token    // of somebody who has logged in at a provider
}

type callerKey struct{}

func callerOf(ctx context.Context) *caller {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c
	}
	return &caller{}
}

// id tells callers apart; "" stands for everybody without a token.
func (c *caller) id() string {
	if c.token == nil {
		return ""
	}
	return c.token.ID
}

// actor names the caller in the audit log.
func (c *caller) actor() string {
	switch {
	case c.token == nil:
		return "local"
	case c.session != nil && c.session.Token == "":
		return "user " + c.token.ID + " (" + c.token.Name + ")"
	default:
		return "token " + c.token.ID + " (" + c.token.Name + ")"
	}
}

func (c *caller) allows(channel string) bool { return c.token == nil || c.token.AllowsChannel(channel) }

func (c *caller) allowsTopic(topic string) bool { return c.token == nil || c.token.AllowsTopic(topic) }

// limited reports whether the caller is limited to some channels and topics.
func (c *caller) limited() bool { return c.token != nil && c.token.Limited() }

// may reports whether the caller has another scope than that of the route, for a channel.
func (c *caller) may(scope tokens.Scope, channel string) bool {
	switch {
	case c.token == nil:
		return true
	case c.grants != nil:
		return sessions.May(c.grants, scope, channel)
	default:
		return c.token.Allows(scope) && c.token.AllowsChannel(channel)
	}
}

// valid reports whether a caller may still be answered, for answers that take long: the
// token was not revoked, the login not ended, and neither has expired.
func (s *server) valid(c *caller) bool {
	if c.session != nil && (s.o.Sessions.Ended(c.session.ID) || !time.Now().Before(c.session.Expires)) {
		return false
	}
	if c.token == nil || c.grants != nil {
		return true
	}
	return s.o.Tokens.Valid(c.token.ID)
}

// authenticate finds out who a caller is, by a token or else by a cookie, and whether they
// may do what a scope is for.
func (s *server) authenticate(r *http.Request, c *caller, scope tokens.Scope, channel, topic string) *Problem {
	if p := s.identify(r, c, scope); p != nil {
		return p
	}
	if c.token == nil || !c.token.Allows(scope) || c.grants != nil && sessions.Merge(c.grants, scope) == nil {
		return forbidden("the token has not the scope " + string(scope))
	}
	if channel != "" && !c.token.AllowsChannel(channel) {
		return forbidden("the token is not for this channel")
	}
	if topic != "" && !c.token.AllowsTopic(topic) {
		return forbidden("the token is not for this topic")
	}
	if wait, ok := take(c.limiter); !ok {
		p := problem(http.StatusTooManyRequests, "token_rate", "the token is over its rate")
		p.retryAfter = wait
		return p
	}
	return nil
}

// identify finds out who a caller is. With a scope, c.token is what they have of it.
func (s *server) identify(r *http.Request, c *caller, scope tokens.Scope) *Problem {
	if r.Header.Get("Authorization") == "" && len(r.CookiesNamed(sessionCookie)) > 0 {
		return s.identifyByCookie(r, c, scope)
	}
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return problem(http.StatusUnauthorized, "no_token", "give a token: Authorization: Bearer est_...")
	}
	token, limiter, err := s.o.Tokens.Authenticate(r.Context(), strings.TrimSpace(text))
	if errors.Is(err, tokens.ErrNotFound) {
		return problem(http.StatusUnauthorized, "bad_token", "the token is unknown, revoked or has expired")
	}
	if err != nil {
		return s.problemOf(err)
	}
	c.token, c.limiter = token, limiter
	return nil
}

func (s *server) identifyByCookie(r *http.Request, c *caller, scope tokens.Scope) *Problem {
	if p := s.sameSite(r); p != nil {
		return p
	}
	session, err := s.o.SessionKeys.Open(cookieOf(r, sessionCookie), s.o.Sessions.Installation(), time.Now())
	if err != nil || s.o.Sessions.Ended(session.ID) {
		return errEnded()
	}
	if session.Token != "" {
		token, limiter, err := s.o.Tokens.Known(r.Context(), session.Token)
		if errors.Is(err, tokens.ErrNotFound) {
			return errEnded()
		}
		if err != nil {
			return s.problemOf(err)
		}
		c.session, c.token, c.limiter = &session, token, limiter
		return nil
	}
	return s.byProvider(c, &session, scope)
}

// errEnded says that a cookie counts no longer, or never did.
func errEnded() *Problem {
	return problem(http.StatusUnauthorized, "no_session", "you are not logged in, or no longer: log in again")
}

// byProvider finds out what somebody may do who has logged in at a provider: what their
// groups may do now.
func (s *server) byProvider(c *caller, session *sessions.Session, scope tokens.Scope) *Problem {
	if s.o.OIDC.Issuer == "" || session.Issuer != s.o.OIDC.Issuer {
		return errEnded()
	}
	sum := sha256.Sum256([]byte(session.Issuer + "\n" + session.Subject))
	id := "oidc-" + hex.EncodeToString(sum[:6])
	grants := s.o.OIDC.Groups.Grants(id, session.Name, session.Groups)
	token := sessions.Merge(grants, scope)
	if token == nil {
		token = sessions.Merge(grants, "")
	}
	if token == nil {
		return errEnded() // its groups have no rights any more
	}
	c.session, c.grants, c.token, c.limiter = session, grants, token, s.rates.of(id)
	return nil
}

// sameSite refuses what a page of another site has a browser do with our cookie.
func (s *server) sameSite(r *http.Request) *Problem {
	if err := s.crossOrigin.Check(r); err != nil {
		return problem(http.StatusForbidden, "cross_origin", "the request comes from a page of another site")
	}
	return nil
}

// rates are the limiters of people who have logged in at a provider.
type rates struct {
	mu    sync.Mutex
	known map[string]*rate.Limiter
}

const maxRates = 10_000

func (r *rates) of(id string) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxRates {
		r.known = nil
	}
	if r.known == nil {
		r.known = map[string]*rate.Limiter{}
	}
	if r.known[id] == nil {
		r.known[id] = rate.NewLimiter(tokens.DefaultRate, tokens.DefaultRate)
	}
	return r.known[id]
}

// scopes returns all that the caller has, for what it is shown.
func (c *caller) scopes() []tokens.Scope {
	if c.token == nil {
		return tokens.Scopes()
	}
	return slices.Clone(c.token.Scopes)
}
