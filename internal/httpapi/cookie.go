package httpapi

import (
	"net/http"
	"strings"
	"time"

	"github.com/hms-utl/extsync/internal/gateway"
)

// The cookies: of a login, and of one that was begun at a provider.
const (
	sessionCookie = gateway.SessionCookie
	loginCookie   = gateway.LoginCookie
	loginPath     = "/v1/session/oidc"
)

// plain reports whether a browser would not send a cookie back that is Secure, and may be
// given another: over plain HTTP on this machine.
func plain(r *http.Request) bool {
	return r.TLS == nil && loopbackHost(r.Host) && !strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// newCookie returns the text of a cookie; with no value it ends the browser's.
func newCookie(r *http.Request, name, value string, age time.Duration) string {
	c := http.Cookie{Name: name, Value: value, Path: "/", MaxAge: max(1, int(age.Seconds())), HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: !plain(r)}
	if name == loginCookie { // the provider sends people back, which is another site
		c.SameSite = http.SameSiteLaxMode
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c.String()
}

// cookieOf returns the value of a cookie, "" if there is none, or two: then somebody else
// has set one of them.
func cookieOf(r *http.Request, name string) string {
	found := r.CookiesNamed(name)
	if len(found) != 1 {
		return ""
	}
	return found[0].Value
}

// tooPlain takes Secure from the cookies of an administrator's answer where the browser
// would not send them back: the administrator does not see how people reach the gateway.
func tooPlain(h http.Header) {
	for i, cookie := range h["Set-Cookie"] {
		h["Set-Cookie"][i] = strings.ReplaceAll(cookie, "; Secure", "")
	}
}
