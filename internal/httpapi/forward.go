package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/gateway"
	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/wire"
)

// forward has an administrator answer a request, whole: what it needs, whether its token
// will do, and the record of it are for the administrator, which runs the same code.
func (s *server) forward(w http.ResponseWriter, r *http.Request, op *huma.Operation) {
	login := op.OperationID == "log-in"
	if logsIn(op) {
		if p := s.mayLogIn(r); p != nil {
			p.write(w)
			return
		}
	}
	var body []byte
	if op.RequestBody != nil {
		var p *Problem
		if body, p = readBody(r, maxAdminBody, problem(http.StatusBadRequest, "bad_request", "the body is cut off")); p != nil {
			p.write(w)
			return
		}
	}
	var answer gateway.Answer
	asked := func(subject string) bool { return broker.Within(wire.Administration(s.o.Client.Names), subject) }
	err := s.o.Client.Refusals.Do(r.Context(), asked, func(ctx context.Context) (err error) {
		answer, err = gateway.Forward(ctx, s.o.Client.JS.Conn(), wire.Administration(s.o.Client.Names), r, body)
		return err
	})
	if err != nil {
		s.problemOf(err).write(w)
		return
	}
	if login && answer.Status == http.StatusUnauthorized {
		s.guesses.failed(r.RemoteAddr)
	}
	if p := s.learnLogin(r, answer, op); p != nil {
		p.write(w)
		return
	}
	if plain(r) {
		tooPlain(answer.Header)
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Status)
	_, _ = w.Write(answer.Body) // the client has gone
}

// logsIn reports whether an operation is, or begins, or ends in a login.
func logsIn(op *huma.Operation) bool {
	return slices.Contains([]string{"log-in", "start-oidc-login", "finish-oidc-login"}, op.OperationID)
}

// mayLogIn refuses a login that would be good for nothing at this gateway, or is one guess
// too many.
func (s *server) mayLogIn(r *http.Request) *Problem {
	if s.o.Tokens.Required() && !s.o.SessionKeys.Verifies() {
		return s.problemOf(sessions.ErrNoKey)
	}
	return s.guesses.check(r.RemoteAddr)
}

// learnLogin notices a login that has ended at once, and one that this gateway will not
// take.
func (s *server) learnLogin(r *http.Request, a gateway.Answer, op *huma.Operation) *Problem {
	if !s.o.Tokens.Required() {
		return nil
	}
	now, here := time.Now(), s.o.Sessions.Installation()
	if op.OperationID == "log-out" && a.Status == http.StatusOK {
		if login, err := s.o.SessionKeys.Open(cookieOf(r, sessionCookie), here, now); err == nil {
			s.o.Sessions.EndHere(login)
		}
	}
	for _, text := range a.Header["Set-Cookie"] {
		c, err := http.ParseSetCookie(text)
		if err != nil || c.Name != sessionCookie || c.Value == "" {
			continue
		}
		if _, err := s.o.SessionKeys.Open(c.Value, here, now); err != nil {
			return problem(http.StatusServiceUnavailable, "no_session_key", "the administrator signs logins with another key than this gateway has: give both --http-session-key-file; or one of them has not noticed 'extsync recover' yet: try again")
		}
	}
	return nil
}
