package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/connectors"
)

func TestOpenAPIDocumentIsValid(t *testing.T) {
	r := newRig(t).serve()
	r.doc.Servers = nil
	if err := r.doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
}

// publicRoutes are those that need no token. Whoever adds one writes it down here
// too.
func publicRoutes() map[string]bool {
	return map[string]bool{
		"/healthz": true, "/readyz": true, "/openapi.json": true, "/docs": true,
		"/v1/session": true, "/v1/session/oidc": true, "/v1/session/oidc/callback": true,
	}
}

// Every route of the description is tried with every scope, with none, and for a
// channel or topic that the token is not for: by a token, and by the cookie of who has
// logged in with it.
func TestAuthorisationMatrix(t *testing.T) {
	r := newRig(t).asking().serve()
	all := map[tokens.Scope]string{}
	elsewhere := map[tokens.Scope]string{}
	for _, scope := range tokens.Scopes() {
		all[scope], elsewhere[scope] = r.token(scope), r.token(scope, "elsewhere")
	}
	// One that is not known yet is looked for, but not while somebody guesses, as below.
	for _, some := range []map[tokens.Scope]string{all, elsewhere} {
		for _, token := range some {
			r.eventually("the token to be known", func() bool {
				resp, err := http.DefaultClient.Do(r.request(http.MethodGet, "/v1/channels", "", "Authorization", "Bearer "+token))
				testkit.Must(t, err)
				defer func() { _ = resp.Body.Close() }()
				return resp.StatusCode != http.StatusUnauthorized
			})
		}
	}
	cookies, elsewhereCookies := map[tokens.Scope]string{}, map[tokens.Scope]string{}
	for scope, token := range all {
		cookies[scope], elsewhereCookies[scope] = r.login(token), r.login(elsewhere[scope])
	}
	tried := 0
	for path, item := range r.doc.Paths.Map() {
		for method, op := range item.Operations() {
			t.Run(method+" "+path, func(t *testing.T) {
				tried++
				scope := needed(t, path, op)
				target := strings.NewReplacer("{channel}", "nowhere", "{topic}", "nowhere", "{key}", "k", "{service}", "s", "{sequence}", "1", "{session}", strings.Repeat("0", 32), "{id}", "1-x", "{job}", "019a0000-0000-7000-8000-000000000000").Replace(path)
				send := func(change func(*http.Request)) int {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					req := r.request(method, target, "").WithContext(ctx)
					change(req)
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = resp.Body.Close() }() // an event stream has no end
					return resp.StatusCode
				}
				try := func(token string) int {
					return send(func(req *http.Request) {
						if token != "" {
							req.Header.Set("Authorization", "Bearer "+token)
						}
					})
				}
				tryCookie := func(cookie string, header ...string) int {
					return send(func(req *http.Request) {
						req.Header.Set("Cookie", cookie)
						for i := 0; i < len(header); i += 2 {
							req.Header.Set(header[i], header[i+1])
						}
					})
				}
				if got := try(""); (got == http.StatusUnauthorized) != (scope != "") {
					t.Errorf("without a token: %d", got)
				}
				if scope == "" {
					return // of a login there are tests of its own
				}
				if got := try("est_000000000000_x"); got != http.StatusUnauthorized {
					t.Errorf("with a wrong token: %d", got)
				}
				for have, token := range all {
					got := try(token)
					if allowed := have == scope; allowed == (got == http.StatusForbidden) || got == http.StatusUnauthorized {
						t.Errorf("with scope %s: %d", have, got)
					}
					if by := tryCookie(cookies[have]); by != got {
						t.Errorf("with scope %s: %d by token, %d by cookie", have, got, by)
					}
				}
				if got := tryCookie("extsync_session=x"); got != http.StatusUnauthorized {
					t.Errorf("with a wrong cookie: %d", got)
				}
				if method != http.MethodGet {
					if got := tryCookie(cookies[scope], "Sec-Fetch-Site", "cross-site"); got != http.StatusForbidden {
						t.Errorf("from a page of another site: %d", got)
					}
				}
				if strings.Contains(path, "{channel}") || strings.Contains(path, "{topic}") {
					if got := try(elsewhere[scope]); got != http.StatusForbidden {
						t.Errorf("with a token for another channel or topic: %d", got)
					}
					if got := tryCookie(elsewhereCookies[scope]); got != http.StatusForbidden {
						t.Errorf("with a login for another channel or topic: %d", got)
					}
				}
			})
		}
	}
	if tried < 20 {
		t.Errorf("only %d routes are described", tried)
	}
}

// needed returns the scope that an operation says it needs, "" for a public one.
func needed(t *testing.T, path string, op *openapi3.Operation) tokens.Scope {
	t.Helper()
	switch {
	case op.Security == nil:
		t.Fatal("the route has no rule")
	case len(*op.Security) == 0:
		if !publicRoutes()[path] {
			t.Fatal("the route is public, and not listed as such")
		}
		return ""
	}
	scopes := (*op.Security)[0]["token"]
	if len(scopes) != 1 {
		t.Fatalf("security is %v", *op.Security)
	}
	return tokens.Scope(scopes[0])
}

func TestRevokedTokenAndLimits(t *testing.T) {
	r := newRig(t).asking().serve()
	issuer := r.issuer()
	tok, text, err := issuer.Create(t.Context(), tokens.Token{Name: "x", Scopes: []tokens.Scope{tokens.Read, tokens.Publish}, Rate: 0.01, Channels: []string{"portal"}})
	r.must(err)
	bearer := []string{"Authorization", "Bearer " + text}
	list := r.call(http.StatusOK, http.MethodGet, "/v1/channels", "", bearer...)
	if channels, _ := list["channels"].([]any); len(channels) != 1 {
		t.Errorf("channels of a limited token: %v", list)
	}
	resp, _ := r.do(r.request(http.MethodGet, "/v1/channels", "", bearer...))
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("over its rate: %s", resp.Status)
	}
	r.must(issuer.Revoke(t.Context(), tok.ID, false))
	r.eventually("the revoked token to be refused", func() bool {
		resp, _ := r.do(r.request(http.MethodGet, "/v1/channels", "", bearer...))
		return resp.StatusCode == http.StatusUnauthorized
	})
	// Revoking the last token does not open the API.
	r.call(http.StatusUnauthorized, http.MethodGet, "/v1/channels", "")
}

func TestWithoutTokens(t *testing.T) {
	r := newRig(t)
	open := r.cfg
	open.HTTP.Listen = "0.0.0.0:0"
	err := app.Serve(t.Context(), r.client, app.PublisherOptions{Config: open, Logger: quiet()})
	if !errors.Is(err, connectors.ErrConfig) {
		t.Errorf("open to the network without tokens: %v", err)
	}
	r.serve()
	req := r.request(http.MethodGet, "/v1/channels", "")
	req.Host = "rebound.example"
	if resp, _ := r.do(req); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another name: %s", resp.Status)
	}
	r.call(http.StatusForbidden, http.MethodPost, updates, update("k", "1", "x"), "Sec-Fetch-Site", "cross-site")
}
