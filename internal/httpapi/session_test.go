package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/tokens"
)

// logsIn logs in with a token, and returns the answer's cookie.
func (r *rig) logsIn(token string, headers ...string) (*http.Cookie, answer, string) {
	r.t.Helper()
	resp, data := r.do(r.request(http.MethodPost, "/v1/session", `{"token":"`+token+`"}`, headers...))
	for _, text := range resp.Header["Set-Cookie"] {
		c, err := http.ParseSetCookie(text)
		r.must(err)
		if c.Name == "extsync_session" {
			return c, resp, data
		}
	}
	return nil, resp, data
}

// login returns the header Cookie of who has logged in with a token.
func (r *rig) login(token string) string {
	r.t.Helper()
	var c *http.Cookie
	r.eventually("the token to be known", func() bool {
		var resp answer
		c, resp, _ = r.logsIn(token)
		return resp.StatusCode == http.StatusOK
	})
	return c.Name + "=" + c.Value
}

func (r *rig) status(method, path string, headers ...string) int {
	r.t.Helper()
	resp, _ := r.do(r.request(method, path, "", headers...))
	return resp.StatusCode
}

func TestLoginByToken(t *testing.T) {
	r := newRig(t).asking()
	r.cfg.HTTP.Console.Place = "test place"
	r.serve()
	issuer := r.issuer()
	tok, text, err := issuer.Create(t.Context(), tokens.Token{Name: "portal", Scopes: []tokens.Scope{tokens.Read, tokens.Operate}, Channels: []string{"portal"}})
	r.must(err)
	nobody := r.call(http.StatusOK, http.MethodGet, "/v1/session", "")
	if nobody["who"] != "" || nobody["login"] != "token" || nobody["place"] != "test place" || nobody["version"] != "test" {
		t.Errorf("nobody: %v", nobody)
	}
	cookie, _, shown := r.logsIn(text)
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Secure || cookie.MaxAge > 8*3600 || cookie.MaxAge < 8*3600-60 {
		t.Errorf("cookie on loopback: %+v", cookie)
	}
	if strings.Contains(shown, text) || strings.Contains(cookie.Value, text[4:]) {
		t.Error("the token is shown")
	}
	for _, h := range [][]string{{"X-Forwarded-Proto", "https"}} {
		if c, _, _ := r.logsIn(text, h...); !c.Secure {
			t.Errorf("behind TLS: %+v", c)
		}
	}
	sent := []string{"Cookie", "extsync_session=" + cookie.Value}
	me := r.call(http.StatusOK, http.MethodGet, "/v1/session", "", sent...)
	if me["who"] != "token "+tok.ID+" (portal)" || fmt.Sprint(me["scopes"]) != "[read operate]" || fmt.Sprint(me["channels"]) != "[portal]" || me["topics"] != nil {
		t.Errorf("who: %v", me)
	}
	list := r.call(http.StatusOK, http.MethodGet, "/v1/channels", "", sent...)
	if channels, _ := list["channels"].([]any); len(channels) != 1 {
		t.Errorf("channels of a limited login: %v", list)
	}
	r.call(http.StatusOK, http.MethodPut, "/v1/channels/portal/pause", "", sent...)
	r.call(http.StatusForbidden, http.MethodPut, "/v1/channels/erp/pause", "", sent...)
	// A token wins over the cookie.
	r.call(http.StatusForbidden, http.MethodPut, "/v1/channels/portal/pause", "", append(sent, "Authorization", "Bearer "+r.token(tokens.Publish))...)
	records, err := auditlog.Open(r.client.JS, r.client.Names).Read(t.Context(), time.Time{})
	r.must(err)
	last := records[len(records)-1]
	if last.Action != "channel.pause" || last.Actor != "token "+tok.ID+" (portal)" {
		t.Errorf("audit log: %+v", last)
	}

	// Two cookies of the name: somebody else has set one of them.
	r.call(http.StatusUnauthorized, http.MethodGet, "/v1/channels", "", "Cookie", "extsync_session="+cookie.Value+"; extsync_session=x")
	r.call(http.StatusForbidden, http.MethodDelete, "/v1/session", "", append(sent, "Sec-Fetch-Site", "cross-site")...)
	r.call(http.StatusForbidden, http.MethodPut, "/v1/channels/portal/resume", "", append(sent, "Origin", "https://evil.example")...)
	if c, resp, _ := r.logsIn(text, "Sec-Fetch-Site", "cross-site"); c != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another site logs somebody in: %s", resp.Status)
	}
	again, _, _ := r.logsIn(text, sent...) // ends the one before
	r.call(http.StatusUnauthorized, http.MethodGet, "/v1/channels", "", sent...)
	sent[1] = "extsync_session=" + again.Value
	out := r.call(http.StatusOK, http.MethodDelete, "/v1/session", "", sent...)
	if out["ended"] != true {
		t.Errorf("logged out: %v", out)
	}
	r.call(http.StatusUnauthorized, http.MethodGet, "/v1/channels", "", sent...) // the same cookie again
	r.call(http.StatusOK, http.MethodDelete, "/v1/session", "", sent...)

	third, _, _ := r.logsIn(text)
	sent[1] = "extsync_session=" + third.Value
	r.call(http.StatusOK, http.MethodGet, "/v1/channels", "", sent...)
	r.must(issuer.Revoke(t.Context(), tok.ID, false))
	r.eventually("the login of a revoked token to end", func() bool { return r.status(http.MethodGet, "/v1/channels", sent...) == http.StatusUnauthorized })
	if me := r.call(http.StatusOK, http.MethodGet, "/v1/session", "", sent...); me["who"] != "" {
		t.Errorf("who: %v", me)
	}
}

// A cookie is good where its key is, as it is, and no longer than it says.
func TestForgedCookies(t *testing.T) {
	r := newRig(t).asking().serve()
	admin := r.token(tokens.Admin)
	good := strings.TrimPrefix(r.login(admin), "extsync_session=")
	id, _, _ := tokens.Split(admin)
	other, err := sessions.NewKeys()
	r.must(err)
	store, err := sessions.OpenStore(t.Context(), r.client.JS, r.client.Names)
	r.must(err)
	_, elsewhere, err := other.Seal(sessions.Session{Token: id, Installation: store.Installation()}, time.Now())
	r.must(err)
	body, sig, _ := strings.Cut(good, ".")
	raw, err := base64.RawURLEncoding.DecodeString(body)
	r.must(err)
	longer := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(raw), `"expires":"2`, `"expires":"3`, 1)))
	r.call(http.StatusOK, http.MethodGet, "/v1/tokens", "", "Cookie", "extsync_session="+good)
	for what, value := range map[string]string{
		"nothing": "", "a text": "x", "no signature": body + ".", "another key": elsewhere, "a longer life": longer + "." + sig,
		"half a signature": good[:len(good)-20], "more behind": good + ".x", "large": strings.Repeat("x", 5000), "the token": admin,
	} {
		if got := r.status(http.MethodGet, "/v1/tokens", "Cookie", "extsync_session="+value); got != http.StatusUnauthorized {
			t.Errorf("%s: %d", what, got)
		}
	}
}

func TestSessionsAndTokensAreListed(t *testing.T) {
	r := newRig(t).asking().serve()
	admin, read := r.token(tokens.Admin), r.token(tokens.Read)
	mine, theirs := r.login(admin), r.login(read)
	bearer := []string{"Authorization", "Bearer " + admin}
	resp, data := r.do(r.request(http.MethodGet, "/v1/tokens", "", bearer...))
	if resp.StatusCode != http.StatusOK || strings.Count(data, `"id"`) != 2 || strings.Contains(data, "hash") {
		t.Errorf("tokens: %s %s", resp.Status, data)
	}
	page := r.call(http.StatusOK, http.MethodGet, "/v1/tokens?limit=1", "", bearer...)
	next := r.call(http.StatusOK, http.MethodGet, "/v1/tokens?limit=1&cursor="+fmt.Sprint(page["next"]), "", bearer...)
	if page["next"] == nil || next["next"] != nil || fmt.Sprint(page["tokens"]) == fmt.Sprint(next["tokens"]) {
		t.Errorf("pages: %v, %v", page, next)
	}
	// A page goes on behind a token that is gone by now, and a cursor of no page is none.
	gone := r.call(http.StatusOK, http.MethodGet, "/v1/tokens?cursor=1.0123456789ab", "", bearer...)
	if list, _ := gone["tokens"].([]any); len(list) != 2 {
		t.Errorf("behind a token that is gone: %v", gone)
	}
	for _, wrong := range []string{"x", "x.0123456789ab", "12"} {
		r.call(http.StatusUnprocessableEntity, http.MethodGet, "/v1/tokens?cursor="+wrong, "", bearer...)
	}
	limited := r.token(tokens.Admin, "portal")
	for _, path := range []string{"/v1/tokens", "/v1/sessions"} {
		r.call(http.StatusForbidden, http.MethodGet, path, "", "Authorization", "Bearer "+limited)
	}
	id, _, _ := tokens.Split(read)
	found := ""
	list, _ := r.call(http.StatusOK, http.MethodGet, "/v1/sessions", "", "Cookie", mine)["sessions"].([]any)
	for _, one := range list {
		if at(one, "who") == "token "+id+" (test)" && at(one, "from") != nil {
			found, _ = at(one, "id").(string)
		}
	}
	if len(list) != 2 || found == "" {
		t.Fatalf("sessions: %v", list)
	}
	r.call(http.StatusForbidden, http.MethodDelete, "/v1/sessions/"+found, "", "Cookie", theirs)
	r.call(http.StatusForbidden, http.MethodDelete, "/v1/sessions/"+found, "", "Authorization", "Bearer "+limited)
	r.call(http.StatusNotFound, http.MethodDelete, "/v1/sessions/x", "", "Cookie", mine)
	r.call(http.StatusOK, http.MethodDelete, "/v1/sessions/"+found, "", "Cookie", mine)
	r.call(http.StatusUnauthorized, http.MethodGet, "/v1/channels", "", "Cookie", theirs)
	// A login by a token that is revoked is none.
	revoked := r.token(tokens.Read)
	r.login(revoked)
	id, _, _ = tokens.Split(revoked)
	r.must(r.issuer().Revoke(t.Context(), id, false))
	r.eventually("the revoked token to be noticed", func() bool {
		list, _ = r.call(http.StatusOK, http.MethodGet, "/v1/sessions", "", "Cookie", mine)["sessions"].([]any)
		return len(list) == 1
	})
	if list, _ := r.call(http.StatusOK, http.MethodGet, "/v1/sessions", "", "Cookie", mine)["sessions"].([]any); len(list) != 1 {
		t.Errorf("sessions: %v", list)
	}
}

// Whoever guesses is told to wait, others are not.
func TestGuessesAreBounded(t *testing.T) {
	r := newRig(t).asking().serve()
	good := r.token(tokens.Read)
	var resp answer
	for range 11 {
		_, resp, _ = r.logsIn("est_000000000000_x")
	}
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("the eleventh guess: %s", resp.Status)
	}
	if _, resp, _ = r.logsIn(good); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a good one from there: %s", resp.Status)
	}
	for _, body := range []string{"", "x", "{}", `{"token":1}`, `{"token":""}`} {
		if resp, data := r.do(r.request(http.MethodPost, "/v1/session", body)); resp.StatusCode != http.StatusUnprocessableEntity && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s %s", body, resp.Status, data)
		}
	}
}

func TestNobodyLogsInWithoutTokens(t *testing.T) {
	r := newRig(t).serve()
	me := r.call(http.StatusOK, http.MethodGet, "/v1/session", "")
	if me["who"] != "local" || me["login"] != "none" || me["place"] != "sync" || len(me["scopes"].([]any)) != len(tokens.Scopes()) { //nolint:forcetypeassert // as OpenAPI has it
		t.Errorf("who: %v", me)
	}
	r.call(http.StatusConflict, http.MethodPost, "/v1/session", `{"token":"x"}`)
	r.call(http.StatusNotFound, http.MethodGet, "/v1/session/oidc", "")
}
