package connhttp

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// TestAuth: each way of authentication, as the target sees it.
func TestAuth(t *testing.T) {
	for _, c := range []struct {
		name string
		auth Auth
		url  connectors.Ref
		want func(*http.Request) bool
	}{
		{"bearer", Auth{Bearer: "${env:TOKEN}"}, "", func(r *http.Request) bool {
			return r.Header.Get("Authorization") == "Bearer "+testToken
		}},
		{"basic", Auth{Basic: httpkit.Basic{Username: "me", Password: "${env:TOKEN}"}}, "", func(r *http.Request) bool {
			user, password, ok := r.BasicAuth()
			return ok && user == "me" && password == testToken
		}},
		{"key in a header", Auth{APIKey: APIKey{Header: "x-my-key", Value: "${env:TOKEN}"}}, "", func(r *http.Request) bool {
			return r.Header.Get("X-My-Key") == testToken
		}},
		{"key in the query", Auth{APIKey: APIKey{Query: "my key", Value: "${env:TOKEN}"}}, "/a?b=c", func(r *http.Request) bool {
			return r.URL.Query().Get("my key") == testToken && r.URL.Query().Get("b") == "c"
		}},
		{"none", Auth{}, "", func(r *http.Request) bool { return r.Header.Get("Authorization") == "" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			// What the target repeats must not come back.
			conn := openTo(t, Config{URL: c.url, Auth: c.auth}, func(w http.ResponseWriter, r *http.Request) {
				if !c.want(r) {
					t.Errorf("the request came as %s %v", r.URL, r.Header)
				}
				_, _ = w.Write([]byte(r.Header.Get("Authorization") + r.Header.Get("X-My-Key") + r.RequestURI))
			})
			got := applyOne(t, conn)
			wantResult(t, got, connectors.OK, "200")
			if strings.Contains(got.Response, testToken) || strings.Contains(got.Response, "bWU6") {
				t.Errorf("the excerpt shows the secret: %q", got.Response)
			}
		})
	}
}

// TestEscapedKeyIsNotExcerpted: a key in the query is secret in its escaped form,
// too.
func TestEscapedKeyIsNotExcerpted(t *testing.T) {
	url := listenHTTP(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.RequestURI)) })
	env := connectortest.Env(map[string]string{"K": "a key&more"})
	conn, err := New(t.Context(), env, Config{
		URL: connectors.Ref(url), AllowCIDRs: []string{"127.0.0.0/8"}, Auth: Auth{APIKey: APIKey{Query: "k", Value: "${env:K}"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if got := applyOne(t, conn).Response; got != "/?k=***" {
		t.Errorf("the excerpt is %q", got)
	}
}

// TestTokenIsNotExcerpted: a fetched token is as secret as a configured one.
func TestTokenIsNotExcerpted(t *testing.T) {
	i := &issuer{}
	conn := openOAuth(t, listenHTTP(t, i.ServeHTTP), styleHeader, time.Now, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Header.Get("Authorization")))
	})
	if got := applyOne(t, conn).Response; got != "Bearer ***" {
		t.Errorf("the excerpt is %q", got)
	}
}

// TestReplayIsNotSwallowed: a target that remembers idempotency keys carries out
// every replay, and takes retries for what they are.
func TestReplayIsNotSwallowed(t *testing.T) {
	var ids []string
	url := listenHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Webhook-Id") != strings.NewReplacer("%", "%25", ".", "%2E").Replace(r.Header.Get("Idempotency-Key")) {
			t.Errorf("webhook-id is %q", r.Header.Get("Webhook-Id"))
		}
		ids = append(ids, r.Header.Get("Idempotency-Key"))
	})
	env := connectortest.Env(map[string]string{"S": symmetricPrefix + testSecret(1, 32)})
	conn, err := New(t.Context(), env, Config{
		URL: connectors.Ref(url), AllowCIDRs: []string{"127.0.0.0/8"}, Signing: Signing{Secrets: []connectors.Ref{"${env:S}"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	a := testAttempt()
	for _, again := range []bool{false, false, true, true} {
		a.Again = again
		wantResult(t, apply(t, conn, a), connectors.OK, "200")
	}
	if ids[0] != a.ID || ids[1] != a.ID || ids[2] == a.ID || ids[3] == a.ID || ids[2] == ids[3] {
		t.Errorf("ids %q", ids)
	}
}

// TestKeyThatNoURLCanCarry is the update's fault, and nothing is sent.
func TestKeyThatNoURLCanCarry(t *testing.T) {
	conn := openTo(t, Config{URL: "/a/{key}/b"}, func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was requested", r.URL)
	})
	a := testAttempt()
	a.Key = ".."
	wantResult(t, apply(t, conn, a), connectors.Permanent, "request")
}

// TestGonePausesTheChannel says so in the error.
func TestGonePausesTheChannel(t *testing.T) {
	conn := openTo(t, Config{Answers: []Answer{{When: ".status == 410", Class: "misconfigured"}}}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	got := applyOne(t, conn)
	wantResult(t, got, connectors.Misconfigured, "410")
	if !strings.Contains(got.Err.Error(), "answers[0] decides") {
		t.Errorf("error: %v", got.Err)
	}
	wantResult(t, apply(t, conn, testTombstone()), connectors.OK, "410")
}
