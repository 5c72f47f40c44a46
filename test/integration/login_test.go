package integration

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/testkit"
)

// Who logs in at a gateway is logged in at the administrator, too, which alone can make
// logins: what the gateway has of the key is its public half.
func TestLoginAtAGateway(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal,cases")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, "http://127.0.0.1:9/"))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	key := filepath.Join(t.TempDir(), "session.key")
	extsync("tokens", "key", "--out", key).ok(t)

	if out := g.program(brokerconfig.Gateway, "publisher", append([]string{"serve", "--http-listen", "127.0.0.1:0", "--http-session-key-file", key}, g.keysOf(brokerconfig.Gateway)...)...).run(t); out.code == 0 || !strings.Contains(out.err, "public half only") {
		t.Errorf("a gateway with the key itself: %+v", out)
	}
	keyless, at := g.gateway(g.keysOf(brokerconfig.Gateway)...)
	all, _ := g.token(g.signer(), "read,operate,admin")
	body := `{"token":"` + all + `"}`
	if a := g.ask(http.MethodPost, at+"/v1/session", body); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `"no_session_key"`) {
		t.Errorf("a gateway without a key: %+v", a)
	}
	g.end(keyless, "")

	api, at := g.gateway(append(g.keysOf(brokerconfig.Gateway), "--http-session-key-file", key+".pub")...)
	elsewhere, _ := g.administrator() // with a key of its own
	if a := g.ask(http.MethodPost, at+"/v1/session", body); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "another key") || a.header.Get("Set-Cookie") != "" {
		t.Errorf("an administrator with another key: %+v", a)
	}
	g.end(elsewhere, "")

	admin, direct := g.serving(brokerconfig.Admin, servedAt, "publisher", append([]string{"serve", "--http-listen", "127.0.0.1:0", "--http-session-key-file", key}, g.keysOf(brokerconfig.Admin)...)...)
	in := g.ask(http.MethodPost, at+"/v1/session", body)
	c, err := http.ParseSetCookie(in.header.Get("Set-Cookie"))
	testkit.Must(t, err)
	if in.status != http.StatusOK || c.Secure || !c.HttpOnly {
		t.Fatalf("log in: %+v", in)
	}
	sent := []string{"Cookie", "theirs=1; extsync_session=" + c.Value}
	for _, base := range []string{at, direct} {
		for path, method := range map[string]string{"/v1/channels": http.MethodGet, "/v1/channels/portal/resume": http.MethodPut, "/v1/sessions": http.MethodGet} {
			if a := g.ask(method, base+path, "", sent...); a.status != http.StatusOK {
				t.Errorf("%s%s: %d %s", base, path, a.status, a.body)
			}
		}
	}
	// The administrator does not see where a request comes from, so the gateway looks.
	if a := g.ask(http.MethodPut, at+"/v1/channels/portal/pause", "", append(sent, "Sec-Fetch-Site", "cross-site")...); a.status != http.StatusForbidden || !strings.Contains(a.body, `"cross_origin"`) {
		t.Errorf("from another site: %+v", a)
	}
	if a := g.ask(http.MethodPost, at+"/v1/session", body, "Origin", "https://evil.example"); a.status != http.StatusForbidden {
		t.Errorf("log in from another site: %+v", a)
	}
	if a := g.ask(http.MethodDelete, at+"/v1/session", "", sent...); a.status != http.StatusOK || !strings.Contains(a.body, `"ended":true`) {
		t.Errorf("log out: %+v", a)
	}
	for _, base := range []string{at, direct} {
		if a := g.ask(http.MethodGet, base+"/v1/channels", "", sent...); a.status != http.StatusUnauthorized {
			t.Errorf("afterwards at %s: %d %s", base, a.status, a.body)
		}
	}
	g.end(api, "")
	g.end(admin, "")
	_, secret, _ := strings.Cut(all[4:], "_")
	for _, p := range []*process{api, admin, keyless} {
		if strings.Contains(p.stderr(), secret) || strings.Contains(p.stderr(), c.Value) {
			t.Error("a token or a cookie is in the log")
		}
	}
}
