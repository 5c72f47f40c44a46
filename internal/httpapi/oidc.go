package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/hms-utl/extsync/internal/sessions"
)

// consoleFrom is the console as seen from the callback: relative, so that it is right under
// whatever path a proxy serves us.
const consoleFrom = "../../../console/"

// placeIn returns where in the console to go: of a place that somebody has named only what
// follows /console/, so it is always in there.
func placeIn(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Opaque != "" || strings.ContainsAny(to, "\\\r\n\t") {
		return consoleFrom
	}
	_, path, inside := strings.Cut(u.EscapedPath(), "/console/")
	if !inside && u.Path != "" {
		return consoleFrom
	}
	clean := url.URL{RawQuery: u.RawQuery, Fragment: u.Fragment, RawFragment: u.RawFragment}
	for part := range strings.SplitSeq(strings.ToLower(path), "/") {
		if part = strings.ReplaceAll(part, "%2e", "."); part == ".." || part == "." {
			return consoleFrom
		}
	}
	return consoleFrom + strings.TrimLeft(path, "/") + clean.String()
}

func (s *server) noOIDC() *Problem {
	return problem(http.StatusNotFound, "no_oidc", "there is no provider to log in at: see http.oidc")
}

func (s *server) startOIDC(r *http.Request, to string) (*redirectOutput, error) {
	if s.o.Provider == nil {
		return nil, s.noOIDC()
	}
	if p := s.guesses.check(r.RemoteAddr); p != nil {
		return nil, p
	}
	location, cookie, err := s.o.Provider.Start(r.Context(), placeIn(to))
	if err != nil {
		return nil, err
	}
	return &redirectOutput{Status: http.StatusFound, Location: location, SetCookie: []string{newCookie(r, loginCookie, cookie, sessions.LoginAge)}}, nil
}

func (s *server) finishOIDC(r *http.Request, in *finishInput) (*redirectOutput, error) {
	if s.o.Provider == nil {
		return nil, s.noOIDC()
	}
	if p := s.guesses.check(r.RemoteAddr); p != nil {
		return nil, p
	}
	if in.Error != "" { // its text is from the address, so anybody's
		return nil, problem(http.StatusForbidden, "login_refused", "the provider has not let you in")
	}
	login, to, err := s.o.Provider.Finish(r.Context(), cookieOf(r, loginCookie), in.State, in.Code)
	if err != nil {
		if errors.Is(err, sessions.ErrLogin) {
			s.guesses.failed(r.RemoteAddr)
		}
		return nil, err
	}
	c := &caller{from: r.RemoteAddr}
	if p := s.byProvider(c, &login, ""); p != nil {
		return nil, p
	}
	cookie, err := s.begin(r, c, login)
	return &redirectOutput{Status: http.StatusFound, Location: to, SetCookie: []string{cookie, newCookie(r, loginCookie, "", 0)}}, err
}
