package connhttp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// An issuer is a token endpoint. Its tokens are numbered.
type issuer struct {
	always  string // the token, "" for numbered ones
	expires int    // seconds; 0: not said
	status  int    // what it answers instead of a token, if not 0
	body    string
	issued  atomic.Int32
	form    atomic.Pointer[string]
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.status != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(i.status)
		_, _ = w.Write([]byte(i.body))
		return
	}
	if err := r.ParseForm(); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	user, password, _ := r.BasicAuth()
	form := user + ":" + password + "?" + r.PostForm.Encode()
	i.form.Store(&form)
	answer := map[string]any{"access_token": fmt.Sprintf("token-%d", i.issued.Add(1)), "token_type": "Bearer"}
	if i.always != "" {
		answer["access_token"] = i.always
	}
	if i.expires > 0 {
		answer["expires_in"] = i.expires
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// listenHTTP starts a server and returns its URL.
func listenHTTP(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func openOAuth(t *testing.T, tokenURL string, style string, now func() time.Time, h http.HandlerFunc) connectors.Connector {
	t.Helper()
	return openWithin(t, 3*time.Second, Config{
		URL: connectors.Ref(listenHTTP(t, h)), AllowCIDRs: []string{"127.0.0.0/8"},
		ConnectTimeout: ms(1000),
		Auth: Auth{OAuth2: OAuth2{
			TokenURL: connectors.Ref(tokenURL), ClientID: "me", ClientSecret: "${env:TOKEN}", Style: style,
			Scopes: []string{"write"}, Params: map[string]connectors.Ref{"audience": "target"},
		}},
	}, deps{now: now})
}

func TestTokenIsKeptAndRenewed(t *testing.T) {
	i := &issuer{expires: 100}
	var now atomic.Int64
	now.Store(time.Now().Unix())
	var seen []string
	conn := openOAuth(t, listenHTTP(t, i.ServeHTTP), styleHeader, func() time.Time { return time.Unix(now.Load(), 0) },
		func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.Header.Get("Authorization")) })
	for range 3 {
		wantResult(t, applyOne(t, conn), connectors.OK, "200")
	}
	now.Add(95) // within the margin before its end
	for range 2 {
		wantResult(t, applyOne(t, conn), connectors.OK, "200")
	}
	if got := strings.Join(seen[:4], ","); got != "Bearer token-1,Bearer token-1,Bearer token-1,Bearer token-2" {
		t.Errorf("the target saw %s", got)
	}
	if form := *i.form.Load(); form != "me:"+testToken+"?audience=target&grant_type=client_credentials&scope=write" {
		t.Errorf("the token endpoint saw %s", form)
	}
}

func TestTokenStyles(t *testing.T) {
	i := &issuer{}
	conn := openOAuth(t, listenHTTP(t, i.ServeHTTP), styleBody, time.Now, func(http.ResponseWriter, *http.Request) {})
	wantResult(t, applyOne(t, conn), connectors.OK, "200")
	if form := *i.form.Load(); !strings.Contains(form, "client_id=me") || !strings.Contains(form, "client_secret="+testToken) {
		t.Errorf("the token endpoint saw %s", form)
	}
}

// TestTokenEndpointHasItsOwnName: the name that the target's certificate is to
// have is not asked of the token endpoint.
func TestTokenEndpointHasItsOwnName(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Hour, "127.0.0.1")
	named, namedKey := ca.issue(t, time.Hour, "192.0.2.1", "target.example")
	conn := openTest(t, Config{
		URL:        connectors.Ref(serveTLS(t, named, namedKey, nil, func(http.ResponseWriter, *http.Request) {}).URL),
		TLS:        connkit.TLS{CA: connectors.Ref(ca.pem), ServerName: "target.example"},
		AllowCIDRs: []string{"127.0.0.0/8"},
		Auth: Auth{OAuth2: OAuth2{
			TokenURL: connectors.Ref(serveTLS(t, cert, key, nil, (&issuer{}).ServeHTTP).URL), ClientID: "me", ClientSecret: "${env:TOKEN}",
		}},
	}, deps{now: time.Now})
	wantResult(t, applyOne(t, conn), connectors.OK, "200")
}

// TestOneFetchServesAll: calls that start together get one token.
func TestOneFetchServesAll(t *testing.T) {
	i := &issuer{}
	conn := openOAuth(t, listenHTTP(t, i.ServeHTTP), styleHeader, time.Now, func(http.ResponseWriter, *http.Request) {})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			a := testAttempt()
			a.Key = fmt.Sprint(n)
			wantResult(t, conn.Apply(t.Context(), []connectors.Attempt{a})[0], connectors.OK, "200")
		})
	}
	wg.Wait()
	if n := i.issued.Load(); n != 1 {
		t.Errorf("%d tokens were fetched", n)
	}
}

// TestRefusedToken: a kept token that the target refuses is replaced, and only a
// new one that is refused, too, blocks the channel.
func TestRefusedToken(t *testing.T) {
	i := &issuer{}
	var accepted atomic.Value
	accepted.Store("Bearer token-1")
	conn := openOAuth(t, listenHTTP(t, i.ServeHTTP), styleHeader, time.Now, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != accepted.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	wantResult(t, applyOne(t, conn), connectors.OK, "200")
	accepted.Store("Bearer token-2")
	wantResult(t, applyOne(t, conn), connectors.Transient, "401")
	wantResult(t, applyOne(t, conn), connectors.OK, "200")
	accepted.Store("nobody")
	wantResult(t, applyOne(t, conn), connectors.Transient, "401")
	wantResult(t, applyOne(t, conn), connectors.Misconfigured, "401")
}

func TestTokenEndpointFails(t *testing.T) {
	closed := listen(t, nil)
	_ = closed.Close()
	for _, c := range []struct {
		name   string
		issuer *issuer
		url    string
		want   connectors.Class
		says   string
	}{
		{"wrong secret", &issuer{status: 401, body: `{"error":"invalid_client","error_description":"` + testToken + `"}`}, "", connectors.Misconfigured, "invalid_client"},
		{"wrong scope", &issuer{status: 400, body: `{"error":"invalid_scope"}`}, "", connectors.Misconfigured, "invalid_scope"},
		{"unknown error", &issuer{status: 400, body: `{"error":"` + testToken + `"}`}, "", connectors.Misconfigured, "400"},
		{"not found", &issuer{status: 404}, "", connectors.Misconfigured, "404"},
		{"redirect", &issuer{status: 302}, "", connectors.Misconfigured, "302"},
		{"in trouble", &issuer{status: 503, body: testToken}, "", connectors.Transient, "503"},
		{"too many", &issuer{status: 429}, "", connectors.Transient, "429"},
		{"no token", &issuer{status: 200, body: `{}`}, "", connectors.Transient, "token endpoint"},
		{"no JSON", &issuer{status: 200, body: `<html>` + testToken}, "", connectors.Transient, "token endpoint"},
		{"bad token", &issuer{status: 200, body: `{"access_token":"a\nb"}`}, "", connectors.Transient, "token endpoint"},
		{"not there", nil, "http://" + closed.Addr().String() + "/" + testToken, connectors.Transient, "refused"},
		{"no such name", nil, "http://no-such-name.invalid/", connectors.Transient, "cannot be resolved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := c.url
			if c.issuer != nil {
				url = listenHTTP(t, c.issuer.ServeHTTP)
			}
			reached := false
			conn := openResolving(t, testEnv().Timeout, Config{
				URL: connectors.Ref(listenHTTP(t, func(http.ResponseWriter, *http.Request) { reached = true })), AllowCIDRs: []string{"127.0.0.0/8"},
				Auth: Auth{OAuth2: OAuth2{TokenURL: connectors.Ref(url), ClientID: "me", ClientSecret: "${env:TOKEN}"}},
			}, newNameServer(t).resolver())
			got := applyOne(t, conn)
			wantResult(t, got, c.want, codeOAuth2)
			if !strings.Contains(got.Err.Error(), c.says) || strings.Contains(got.Err.Error(), testToken) {
				t.Errorf("error: %v", got.Err)
			}
			if reached {
				t.Error("the target was called without a token")
			}
		})
	}
}
