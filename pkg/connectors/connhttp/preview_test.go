package connhttp

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
)

// A preview is what a call would send, without what nobody shall see.
func TestPreview(t *testing.T) {
	const all = "method: PUT\nallow_cidrs: [127.0.0.0/8]\n"
	for name, c := range map[string]struct {
		config, url string
		headers     map[string]string
	}{
		"plain": {"url: https://a.example/{key}?v={version}", "https://a.example/key-1?v=7", map[string]string{"Ce-Entityversion": "7"}},
		"bearer": {
			"url: https://a.example/{key}\nauth: {bearer: '${env:TOKEN}'}\nheaders: {X-Api-Key: 'x-${env:HEADER}', X-Other: here}",
			"https://a.example/key-1",
			map[string]string{"Authorization": "Bearer ***", "X-Api-Key": "x-***", "X-Other": "here"},
		},
		"basic": {
			"url: https://a.example/{key}\nauth: {basic: {username: me, password: '${env:TOKEN}'}}", "https://a.example/key-1",
			map[string]string{"Authorization": "Basic ***"},
		},
		"query": {
			"url: https://a.example/x?s=${env:QUERY}\nauth: {api_key: {query: token, value: '${env:TOKEN}'}}",
			"https://a.example/x?s=***&token=***", nil,
		},
		"signed": {
			"url: https://a.example/x\nsigning: {secrets: ['${env:SIGN}']}", "https://a.example/x",
			map[string]string{"Webhook-Signature": "***"},
		},
		"OAuth2": {
			"url: https://a.example/x\nauth: {oauth2: {token_url: 'https://a.example/t', client_id: me, client_secret: '${env:TOKEN}'}}",
			"https://a.example/x",
			map[string]string{"Authorization": "Bearer ***"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			values := map[string]string{
				"TOKEN": testToken, "QUERY": "secret of the query", "HEADER": "abc", "URL": "https://secret-host.example/secret-path",
				"SIGN": "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0",
			}
			env := connectortest.Env(values)
			conn, err := Kind().Open(t.Context(), env, []byte(all+c.config))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(t.Context()) }()
			a := testAttempt()
			a.Key = "key-1"
			p, err := conn.(connectors.Previewer).Preview(t.Context(), a)
			if err != nil || p.Method != "PUT" || p.URL != c.url || string(p.Body) != string(a.Payload) {
				t.Errorf("%s %s %s, %v", p.Method, p.URL, p.Body, err)
			}
			for name, want := range c.headers {
				if p.Headers[name] != want {
					t.Errorf("%s: %q, want %q", name, p.Headers[name], want)
				}
			}
			text, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range values {
				if strings.Contains(string(text), secret) {
					t.Errorf("a secret is shown: %s", text)
				}
			}
			a.Op, a.Key = events.Delete, ".."
			if _, err := conn.(connectors.Previewer).Preview(t.Context(), a); strings.Contains(c.config, "/{key}\n") && err == nil {
				t.Error("a key that makes no URL")
			}
		})
	}
}
