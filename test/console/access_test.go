package console_test

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/tokens"
)

// Somebody logs in with a token, sees what it allows and nothing else, is refused when the
// right is gone, and is logged out when the token is.
func TestLogInLoseTheRightAndBeRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTokens)
	furnish(r)
	issuer := r.issuer()
	token, text, err := issuer.Create(t.Context(), tokens.Token{Name: "desk", Scopes: []tokens.Scope{tokens.Read, tokens.Operate}, Channels: []string{"portal"}})
	r.must(err)
	p := r.tab(wide(), nowhere)
	p.allow("status of 401", "status of 403", "/v1/channels/crm/status") // what is refused here is refused on purpose
	p.do(chromedp.Navigate(p.url + "#/channels/portal"))
	p.see("h1", "extsync")
	p.axe("")
	p.fits360()
	p.fill("#token", "est_0000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	p.click("button", "Log in")
	p.see(".note", "The token is unknown, revoked or has expired.")
	p.axe("")
	p.fill("#token", text)
	p.press(kb.Enter)
	p.see("h1", "portal") // the page that the link named
	p.loaded()
	p.see("nav", "desk")
	if cookies := eval[string](p, "document.cookie"); cookies != "" {
		t.Errorf("scripts can read the cookie: %s", cookies)
	}
	if kept := eval[string](p, "JSON.stringify({...localStorage}) + JSON.stringify({...sessionStorage})"); strings.Contains(kept, "est_") {
		t.Errorf("the token is kept: %s", kept)
	}
	p.see("button", "Pause…")
	for _, offered := range []string{"Clone…", "Delete…"} { // needs configure
		p.gone("button", offered)
	}
	p.goTo("channels")
	p.see("main", "1 named route")
	p.gone("main", "crm")
	p.goTo("dead") // counted where one may
	p.see("#d-channel", "portal")
	p.see("main", "given up")
	p.gone(".note", "could not be counted")
	p.goTo("channels/crm")
	p.see("main", "There is no such channel, or you may not see it.")
	p.goTo("access")
	p.see("li.has", "operate")
	p.gone("li.has", "admin")
	p.axe("")

	// The right goes: a press that was offered is refused, and nothing is done.
	p.goTo("channels/portal")
	p.click("button", "Pause…")
	p.see("dialog[open] h2", "Pause portal?")
	r.must(issuer.Revoke(t.Context(), token.ID, false))
	p.see("h1", "extsync")
	p.see("#token", "")
	if c := r.config("portal"); c.Paused != nil && *c.Paused {
		t.Error("the channel is paused by somebody whose token is revoked")
	}
	p.fill("#token", text)
	p.click("button", "Log in")
	p.see(".note", "The token is unknown, revoked or has expired.")

	// Another person logs in at the same tab, and sees nothing of the one before.
	_, other, err := issuer.Create(t.Context(), tokens.Token{Name: "auditor", Scopes: []tokens.Scope{tokens.Read}})
	r.must(err)
	p.fill("#token", other)
	p.click("button", "Log in")
	p.see("nav", "auditor")
	p.goTo("channels/portal")
	p.gone("button", "Pause…")
	p.goTo("key/case-1")
	p.gone("button", "Show the payload")
	p.click("button", "Log out")
	p.see("#token", "")
	p.gone("main", "case-1")
}

// fits360 checks that a narrow window needs no scrolling sideways.
func (p *tab) fits360() {
	p.t.Helper()
	p.look(view{width: 360, height: 740})
	p.fits()
	p.look(wide())
}

// Somebody logs in where all staff do, with a name and a password that extsync never sees.
func TestLogInAtAProvider(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTokens, withProvider)
	r.channel("portal", "http", r.shelf.connector("portal"))
	p := r.tab(wide(), nowhere)
	p.do(chromedp.Navigate(p.url + "#/channels/portal"))
	p.see("a.btn", "Log in with staff login")
	p.axe("")
	p.allow("favicon.ico") // of the provider
	p.click("a.btn", "Log in with staff login")
	p.see("input[name=username]", "")
	p.fill("input[name=username]", "test-user@127.0.0.1")
	p.fill("input[name=password]", "verysecure")
	p.press(kb.Enter)
	p.see("nav", "test-user")
	p.see("h1", "portal")
	p.see("button", "Pause…")
}

// withProvider has people log in at a real provider.
func withProvider(r *rig) {
	r.t.Helper()
	r.listen = freeAddress(r.t)
	redirect := "http://" + r.listen + "/v1/session/oidc/callback"
	secret := filepath.Join(r.dir, "secret")
	r.must(os.WriteFile(secret, []byte("secret\n"), 0o600))
	r.cfg.HTTP.OIDC = sessions.OIDC{
		Issuer: startProvider(r.t, redirect), ClientID: "extsync", ClientSecretFile: secret, RedirectURL: redirect, Name: "staff login",
		Groups: sessions.Groups{"operators": {Scopes: []tokens.Scope{tokens.Operate, tokens.Read}}},
	}
}

// freeAddress returns an address of this machine that nobody listens at.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	defer func() { _ = l.Close() }() // for a server
	return l.Addr().String()
}

// startProvider builds and starts a real provider, and returns its issuer.
func startProvider(t testing.TB, redirect string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "oidc")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir, build.Env = "../servers/oidc", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	address := freeAddress(t)
	var out bytes.Buffer
	server := exec.CommandContext(t.Context(), program, address, redirect)
	server.Stdout, server.Stderr, server.WaitDelay = &out, &out, 5*time.Second
	testkit.Must(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	testkit.Eventually(t, "the provider to answer", func() bool {
		resp, err := http.Get("http://" + address + "/.well-known/openid-configuration") //nolint:noctx // it is a test
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
	return "http://" + address + "/"
}

// Who may do something but not read is told so. Each page asked, was refused, and showed that it
// had failed.
func TestWhoMayNotReadIsToldSo(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTokens)
	_, text, err := r.issuer().Create(t.Context(), tokens.Token{Name: "robot", Scopes: []tokens.Scope{tokens.Operate}})
	r.must(err)
	p := r.tab(wide(), nowhere)
	p.do(chromedp.Navigate(p.url))
	p.fill("#token", text)
	p.press(kb.Enter)
	p.see(".note", "You need the right to read.")
	p.goTo("dead")
	p.see(".note", "You need the right to read.")
	p.axe("")
	p.click("main a", "See what you may do")
	p.see(".rights li.has", "operate")
	p.gone("nav a", "Overview")
	p.gone("#search", "")
}
