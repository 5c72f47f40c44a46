package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/tokens"
)

// A Session is who somebody is, and what they may do.
type Session struct {
	Who      string         `json:"who" doc:"\"\": log in first. local: nobody is asked to"`
	ID       string         `json:"id,omitempty" doc:"Of the login"`
	Scopes   []tokens.Scope `json:"scopes" doc:"All that is allowed, for at least one channel"`
	Channels []string       `json:"channels" nullable:"true" doc:"Those that it is limited to; null with topics null: all"`
	Topics   []string       `json:"topics" nullable:"true"`
	Expires  time.Time      `json:"expires,omitzero"`
	Login    string         `json:"login" doc:"How to log in: none, token, or token,oidc"`
	OIDCName string         `json:"oidc_name,omitempty" doc:"Where to log in by OIDC"`
	Version  string         `json:"version"`
	Place    string         `json:"place" doc:"A short name of this installation"`
}

type sessionOutput struct {
	SetCookie []string `header:"Set-Cookie"`
	Body      Session
}

type loginInput struct {
	RawBody []byte `contentType:"application/json"`
}

type endOutput struct {
	SetCookie []string `header:"Set-Cookie"`
	Body      struct {
		Ended bool `json:"ended" doc:"There was a login"`
	}
}

type redirectOutput struct {
	Status    int
	Location  string   `header:"Location"`
	SetCookie []string `header:"Set-Cookie"`
}

type startInput struct {
	To string `query:"to" maxLength:"2048" doc:"The place in the console to go to afterwards"`
}

type finishInput struct {
	State string `query:"state" maxLength:"1024"`
	Code  string `query:"code" maxLength:"4096"`
	Error string `query:"error" maxLength:"1024"`
	// What else providers send.
	Description  string `query:"error_description" maxLength:"4096"`
	URI          string `query:"error_uri" maxLength:"4096"`
	SessionState string `query:"session_state" maxLength:"4096"`
	Scope        string `query:"scope" maxLength:"4096"`
	Issuer       string `query:"iss" maxLength:"4096"`
}

const maxLoginBody = 4 << 10

func (s *server) sessionRoutes() {
	const path, tag = "/v1/session", "Session"
	register(s, route{
		id: "get-session", method: http.MethodGet, path: path, tag: tag,
		summary: "Who am I, and what may I do?", rule: public, status: http.StatusOK,
	}, func(ctx context.Context, _ *struct{}) (*sessionOutput, error) {
		return s.getSession(requestOf(ctx))
	})
	register(s, route{
		id: "log-in", method: http.MethodPost, path: path, tag: tag, maxBody: maxLoginBody, relays: true,
		summary: "Log in with a token: the answer sets a cookie, for 8 hours at most", rule: public, status: http.StatusOK,
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: &huma.Schema{
			Type: "object", Required: []string{"token"}, Properties: map[string]*huma.Schema{"token": {Type: "string"}},
		}}}},
	}, func(ctx context.Context, in *loginInput) (*sessionOutput, error) {
		return s.logIn(requestOf(ctx), in.RawBody)
	})
	register(s, route{
		id: "log-out", method: http.MethodDelete, path: path, tag: tag, relays: true,
		summary: "Log out: the cookie is good no longer, wherever it is", rule: public, status: http.StatusOK,
	}, func(ctx context.Context, _ *struct{}) (*endOutput, error) { return s.logOut(requestOf(ctx)) })
	register(s, route{
		id: "start-oidc-login", method: http.MethodGet, path: loginPath, tag: tag, relays: true,
		summary: "Go to the provider to log in", rule: public, status: http.StatusFound,
	}, func(ctx context.Context, in *startInput) (*redirectOutput, error) {
		return s.startOIDC(requestOf(ctx), in.To)
	})
	register(s, route{
		id: "finish-oidc-login", method: http.MethodGet, path: loginPath + "/callback", tag: tag, relays: true,
		summary: "Come back from the provider, and go to the console", rule: public, status: http.StatusFound,
	}, func(ctx context.Context, in *finishInput) (*redirectOutput, error) {
		return s.finishOIDC(requestOf(ctx), in)
	})
}

type requestKey struct{}

// requestOf returns the request that is answered.
func requestOf(ctx context.Context) *http.Request {
	r, _ := ctx.Value(requestKey{}).(*http.Request) // authorise has put it there
	return r
}

func withRequest(ctx huma.Context) huma.Context {
	r, _ := humago.Unwrap(ctx)
	return huma.WithValue(ctx, requestKey{}, r)
}

// shown returns what a caller is told of themselves; nil: they must log in.
func (s *server) shown(c *caller) Session {
	out := Session{Login: "none", Version: s.o.Version, Place: s.o.Place, Scopes: []tokens.Scope{}}
	if s.o.Tokens.Required() || s.o.Forward {
		out.Login = "token"
		if s.o.OIDC.Issuer != "" {
			out.Login, out.OIDCName = "token,oidc", s.oidcName()
		}
	}
	if c == nil {
		return out
	}
	out.Who, out.Scopes = c.actor(), c.scopes()
	if t := c.token; t != nil {
		if c.grants != nil {
			t = sessions.Merge(c.grants, "")
		}
		out.Channels, out.Topics, out.Expires = t.Channels, t.Topics, t.Expires
	}
	if c.session != nil {
		out.ID, out.Expires = c.session.ID, c.session.Expires
	}
	return out
}

func (s *server) oidcName() string {
	if s.o.OIDC.Name != "" {
		return s.o.OIDC.Name
	}
	if u, err := url.Parse(s.o.OIDC.Issuer); err == nil {
		return u.Host
	}
	return s.o.OIDC.Issuer
}

func (s *server) getSession(r *http.Request) (*sessionOutput, error) {
	c := &caller{from: r.RemoteAddr}
	if !s.o.Tokens.Required() {
		return &sessionOutput{Body: s.shown(c)}, nil
	}
	p := s.identify(r, c, "")
	switch {
	case p == nil:
		return &sessionOutput{Body: s.shown(c)}, nil
	case p.Status == http.StatusUnauthorized:
		return &sessionOutput{Body: s.shown(nil)}, nil
	default:
		return nil, p
	}
}

func (s *server) logIn(r *http.Request, body []byte) (*sessionOutput, error) {
	if p := s.sameSite(r); p != nil { // else a page could log somebody in as somebody else
		return nil, p
	}
	var in struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.Token == "" {
		return nil, invalid(FieldError{Location: "body.token", Message: "it is missing, or no text"}) // the error may quote it
	}
	if !s.o.Tokens.Required() {
		return nil, problem(http.StatusConflict, "no_login", "nobody needs to log in here: tokens are not asked for")
	}
	if p := s.guesses.check(r.RemoteAddr); p != nil {
		return nil, p
	}
	token, limiter, err := s.o.Tokens.Authenticate(r.Context(), strings.TrimSpace(in.Token))
	if errors.Is(err, tokens.ErrNotFound) {
		s.guesses.failed(r.RemoteAddr)
		p := problem(http.StatusUnauthorized, "bad_token", "the token is unknown, revoked or has expired")
		s.refused(&caller{from: r.RemoteAddr}, s.api.OpenAPI().Paths["/v1/session"].Post, p)
		return nil, p
	}
	if err != nil {
		return nil, err
	}
	c := &caller{token: token, limiter: limiter, from: r.RemoteAddr}
	cookie, err := s.begin(r, c, sessions.Session{Token: token.ID, Expires: token.Expires})
	return &sessionOutput{Body: s.shown(c), SetCookie: []string{cookie}}, err
}

// begin makes a login of a caller, and returns its cookie. A cookie that the browser had is
// good no longer.
func (s *server) begin(r *http.Request, c *caller, login sessions.Session) (string, error) {
	if p := s.guesses.begin(c.id()); p != nil {
		return "", p
	}
	login.Installation = s.o.Sessions.Installation()
	login, sealed, err := s.o.SessionKeys.Seal(login, time.Now())
	if err != nil {
		return "", err
	}
	c.session = &login
	act := auditlog.Act{Action: "session.begin", Target: "session " + login.ID}
	err = s.o.Client.As(c.actor(), c.from).Act(r.Context(), act, func(ctx context.Context) (any, error) {
		return nil, s.o.Sessions.Begin(ctx, login, c.actor(), c.from)
	})
	if err != nil {
		return "", err
	}
	if before, err := s.o.SessionKeys.Open(cookieOf(r, sessionCookie), login.Installation, time.Now()); err == nil {
		if _, err := s.o.Sessions.End(r.Context(), before.ID); err != nil {
			s.o.Logger.Warn().Err(err).Msg("the login before is not ended everywhere")
		}
	}
	return newCookie(r, sessionCookie, sealed, time.Until(login.Expires)), nil
}

// logOut ends a login also if its token is no longer valid.
func (s *server) logOut(r *http.Request) (*endOutput, error) {
	if p := s.sameSite(r); p != nil {
		return nil, p
	}
	out := &endOutput{SetCookie: []string{newCookie(r, sessionCookie, "", 0)}}
	login, err := s.o.SessionKeys.Open(cookieOf(r, sessionCookie), s.o.Sessions.Installation(), time.Now())
	if err != nil || s.o.Sessions.Ended(login.ID) {
		return out, nil //nolint:nilerr // there is nothing to end
	}
	out.Body.Ended = true
	_, err = s.o.Sessions.End(r.Context(), login.ID)
	return out, err
}
