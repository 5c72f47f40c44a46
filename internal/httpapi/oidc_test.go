package httpapi_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/tokens"
)

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
	build.Dir, build.Env = "../../test/servers/oidc", append(os.Environ(), "CGO_ENABLED=0")
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

// A browser is one, but for its pages.
type browser struct {
	t    testing.TB
	http *http.Client
	seen string // where it was, for messages
}

func newBrowser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	testkit.Must(t, err)
	return &browser{t: t, http: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// A page is an answer that was read to its end.
type page struct {
	StatusCode int
	Status     string
	Header     http.Header
	Cookies    func() []*http.Cookie
	Location   func() (*url.URL, error)
}

func (b *browser) send(req *http.Request) (page, string) {
	b.t.Helper()
	b.seen += " " + req.URL.Path
	resp, err := b.http.Do(req)
	testkit.Must(b.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	testkit.Must(b.t, err)
	return page{resp.StatusCode, resp.Status, resp.Header, resp.Cookies, resp.Location}, string(body)
}

func (b *browser) get(address string) (page, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	testkit.Must(b.t, err)
	return b.send(req)
}

var loginID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// goesTo logs in at the provider as somebody, and returns where the provider sends them.
func (b *browser) goesTo(start, user string) string {
	b.t.Helper()
	next := start
	for range 10 {
		resp, body := b.get(next)
		if found := loginID.FindStringSubmatch(body); resp.StatusCode == http.StatusOK && found != nil {
			form := url.Values{"username": {user}, "password": {"verysecure"}, "id": {found[1]}}
			req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, next, strings.NewReader(form.Encode()))
			testkit.Must(b.t, err)
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			resp, body = b.send(req)
		}
		at, err := resp.Location()
		if err != nil {
			b.t.Fatalf("%s %s\n%s\nafter %s", resp.Status, next, body, b.seen)
		}
		if next = at.String(); strings.Contains(next, "/v1/session/oidc/callback?") {
			return next
		}
	}
	b.t.Fatalf("it goes round: %s", b.seen)
	return ""
}

// withProvider has people log in at a real provider.
func (r *rig) withProvider() *rig {
	r.t.Helper()
	r.asking()
	r.cfg.HTTP.Listen = freeAddress(r.t)
	redirect := "http://" + r.cfg.HTTP.Listen + "/v1/session/oidc/callback"
	secret := filepath.Join(r.t.TempDir(), "secret")
	r.must(os.WriteFile(secret, []byte("secret\n"), 0o600))
	r.cfg.HTTP.OIDC = sessions.OIDC{
		Issuer: startProvider(r.t, redirect), ClientID: "extsync", ClientSecretFile: secret, RedirectURL: redirect, Name: "staff login",
		Groups: sessions.Groups{
			"operators": {Scopes: []tokens.Scope{tokens.Operate}, Channels: []string{"portal"}},
			"staff":     {Scopes: []tokens.Scope{tokens.Read}},
			"owners":    {Scopes: []tokens.Scope{tokens.Admin}},
		},
	}
	return r.serve()
}

func TestLoginByProvider(t *testing.T) {
	t.Parallel() // it is built first
	r := newRig(t).withProvider()
	start := r.url + "/v1/session/oidc"
	if me := r.call(http.StatusOK, http.MethodGet, "/v1/session", ""); me["login"] != "token,oidc" || me["oidc_name"] != "staff login" {
		t.Errorf("how to log in: %v", me)
	}
	b := newBrowser(t)
	back := b.goesTo(start+"?to="+url.QueryEscape("/p/console/keys?q=1#x"), "test-user@127.0.0.1")

	// In another browser the address is worth nothing, also not with an own login begun.
	other := newBrowser(t)
	if resp, body := other.get(back); resp.StatusCode != http.StatusForbidden || len(resp.Cookies()) > 0 {
		t.Errorf("without the cookie: %s %s", resp.Status, body)
	}
	theirs := other.goesTo(start, "test-user2")
	if resp, body := other.get(back); resp.StatusCode != http.StatusForbidden {
		t.Errorf("with the cookie of another login: %s %s", resp.Status, body)
	}
	if resp, body := other.get(theirs); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "no group") {
		t.Errorf("in no group that has rights: %s %s", resp.Status, body)
	}

	resp, body := b.get(back)
	if resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != "../../../console/keys?q=1#x" {
		t.Fatalf("back: %s %s %s", resp.Status, resp.Header.Get("Location"), body)
	}
	cookie := ""
	for _, c := range resp.Cookies() {
		if c.Name == "extsync_session" {
			cookie = c.Name + "=" + c.Value
			if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
				t.Errorf("cookie: %+v", c)
			}
		}
	}
	if resp, _ := b.get(back); resp.StatusCode != http.StatusForbidden {
		t.Errorf("the same address again: %s", resp.Status)
	}
	sent := []string{"Cookie", cookie}
	me := r.call(http.StatusOK, http.MethodGet, "/v1/session", "", sent...)
	who, _ := me["who"].(string)
	if !strings.HasPrefix(who, "user oidc-") || !strings.HasSuffix(who, " (test-user@127.0.0.1)") || fmt.Sprint(me["scopes"]) != "[read operate]" || me["channels"] != nil {
		t.Errorf("who: %v", me)
	}
	// Scopes of one group do not reach the channels of another.
	r.call(http.StatusOK, http.MethodGet, "/v1/channels/erp/status", "", sent...)
	r.call(http.StatusOK, http.MethodPut, "/v1/channels/portal/pause", "", sent...)
	r.call(http.StatusForbidden, http.MethodPut, "/v1/channels/erp/pause", "", sent...)
	r.call(http.StatusForbidden, http.MethodGet, "/v1/tokens", "", sent...)
	id, _ := me["id"].(string)
	r.call(http.StatusOK, http.MethodDelete, "/v1/sessions/"+id, "", "Authorization", "Bearer "+r.token(tokens.Admin))
	r.call(http.StatusUnauthorized, http.MethodGet, "/v1/channels", "", sent...)
}

// Nothing that an address names leads out of the console.
func TestLoginLeadsIntoTheConsole(t *testing.T) {
	t.Parallel()
	r := newRig(t).withProvider()
	for to, want := range map[string]string{
		"": "", "https://evil.example/": "", "//evil.example/console/x": "x", "https://evil.example/console/x": "x", "/console/../../x": "",
		"/console/%2e%2e/x": "", "/console//evil.example": "evil.example", "javascript:alert(1)": "", `/console/\evil`: "", "#/keys": "#/keys", "/elsewhere": "",
	} {
		b := newBrowser(t)
		resp, body := b.get(b.goesTo(r.url+"/v1/session/oidc?to="+url.QueryEscape(to), "test-user@127.0.0.1"))
		if got := resp.Header.Get("Location"); got != "../../../console/"+want {
			t.Errorf("%q: %s %q %s", to, resp.Status, got, body)
		}
	}
}
