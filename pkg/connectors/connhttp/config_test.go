package connhttp

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

func TestDecodeDefaults(t *testing.T) {
	c, err := Decode([]byte("url: https://example.org/hook"))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		URL: "https://example.org/hook", Method: "POST", Body: "payload", OnGone: "dead_letter",
		Delete:         &Delete{Method: "POST", URL: "https://example.org/hook"},
		Ack:            Ack{Otherwise: "transient"},
		Auth:           Auth{OAuth2: OAuth2{Style: "header"}},
		ConnectTimeout: connectors.Duration(DefaultConnectTimeout),
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	c, err = Decode([]byte("url: https://example.org/{key}\nmethod: PUT\ndelete: {}"))
	if err != nil {
		t.Fatal(err)
	}
	if *c.Delete != (Delete{Method: "DELETE", URL: "https://example.org/{key}"}) {
		t.Errorf("delete is %+v", *c.Delete)
	}
}

func TestWholeConfig(t *testing.T) {
	_, err := Decode([]byte(`
url: https://example.org/{key}/{version}?token=${env:T}
method: PATCH
delete: {method: POST, url: "https://example.org/gone/{key}"}
body: cloudevent
headers: {X-Tenant: a, X-Secret: "${file:/run/secret}"}
auth: {oauth2: {token_url: "https://id.example.org/token", client_id: me, client_secret: "${env:S}", scopes: [a], params: {audience: b}, style: body}}
signing: {secrets: ["${env:A}", "${env:B}"]}
tls: {ca: "${file:/ca.pem}", cert: "${file:/c.pem}", key: "${file:/k.pem}", server_name: example.org}
proxy: {url: "socks5://proxy.example.org:1080", username: u, password: "${env:P}"}
connect_timeout: 1s
allow_cidrs: [10.0.0.0/8, "fd00::/8"]
statuses: {404: transient, 5xx: permanent}
on_gone: pause
ack: {jq: .ok, otherwise: permanent}
held_version: .current.version
probe_url: https://example.org/health
`))
	if err != nil {
		t.Fatal(err)
	}
}

// TestBadConfigs: every bad field of a document is named at once, and no value
// that could be a secret is repeated.
func TestBadConfigs(t *testing.T) {
	const secret = "written-down-in-plain"
	for _, c := range []struct {
		name, config string
		fields       []string
	}{
		{"empty", "", []string{"url"}},
		{"unknown field", "url: https://example.org\nurls: x\nmethods: y", []string{"urls", "methods"}},
		{"two documents", "url: https://example.org\n---\nurl: x", []string{"document"}},
		{"not a URL", "url: '://'", []string{"url"}},
		{"scheme", "url: ftp://example.org", []string{"url"}},
		{"no host", "url: https:///x", []string{"url"}},
		{"userinfo", "url: https://u:" + secret + "@example.org", []string{"url"}},
		{"fragment", "url: https://example.org/#a", []string{"url"}},
		{"placeholder in the host", "url: https://{key}.example.org/", []string{"url"}},
		{"placeholder in the port", "url: https://example.org:{version}", []string{"url"}},
		{"unknown placeholder", "url: https://example.org/{id}", []string{"url"}},
		{"lone brace", "url: https://example.org/{key", []string{"url"}},
		{"dot segments", "url: https://example.org/a/../b", []string{"url"}},
		{"placeholder in the probe", "url: https://example.org\nprobe_url: https://example.org/{key}", []string{"probe_url"}},
		{"methods", "url: https://example.org\nmethod: GET\ndelete: {method: HEAD}", []string{"method", "delete.method"}},
		{"private address", "url: http://10.0.0.1/\nprobe_url: http://[::1]/", []string{"url", "probe_url"}},
		{"metadata in v6 dress", "url: 'http://[::ffff:169.254.169.254]/'", []string{"url"}},
		{"enumerations", "url: https://example.org\nbody: xml\non_gone: cry\nack: {otherwise: ok}", []string{"body", "on_gone", "ack.otherwise"}},
		{"jq", "url: https://example.org\nack: {jq: '.['}\nheld_version: nosuchfunction", []string{"ack.jq", "held_version"}},
		{
			"headers",
			"url: https://example.org\nheaders: {ce-id: a, 'bad name': b, X-Api-Key: " + secret + ", Authorization: " + secret + ", X-A: \"a\\nb\", Host: x}",
			[]string{"ce-id", "bad name", "X-Api-Key", "Authorization", "X-A", "Host"},
		},
		{"a header twice", "url: https://example.org\nheaders: {X-A: a, x-a: b}", []string{"headers.x-a"}},
		{
			"auth in plain",
			"url: https://example.org\nauth: {bearer: " + secret + ", basic: {password: " + secret + "}, api_key: {value: " + secret + "}}",
			[]string{"auth", "auth.bearer", "auth.basic.username", "auth.basic.password", "auth.api_key.value", "auth.api_key"},
		},
		{"header and auth", "url: https://example.org\nauth: {bearer: '${env:A}'}\nheaders: {authorization: '${env:B}'}", []string{"headers.authorization"}},
		{"oauth2", "url: https://example.org\nauth: {oauth2: {client_secret: " + secret + ", style: x, params: {scope: a}}}", []string{
			"auth.oauth2.token_url", "auth.oauth2.client_id", "auth.oauth2.client_secret", "auth.oauth2.style", "auth.oauth2.params.scope",
		}},
		{"signing", "url: https://example.org\nsigning: {secrets: [" + secret + "]}", []string{"signing.secrets"}},
		{"tls", "url: https://example.org\ntls: {key: " + secret + "}", []string{"tls", "tls.key"}},
		{"proxy", "url: https://example.org\nproxy: {url: 'http://u:" + secret + "@proxy', password: " + secret + "}", []string{"proxy", "proxy.password", "proxy.url"}},
		{"proxy without URL", "url: https://example.org\nproxy: {username: a}", []string{"proxy.url"}},
		{"connect_timeout", "url: https://example.org\nconnect_timeout: -1s", []string{"connect_timeout"}},
		{"networks", "url: https://example.org\nallow_cidrs: [10.0.0.1/8, x, 10.0.0.1]", []string{"allow_cidrs", "10.0.0.1/8", `"x"`, `"10.0.0.1"`}},
		{
			"references in names", "url: 'https://${env:A}.example.org/'\nprobe_url: 'https://example.org/${env:A}'\nread: {url: 'https://example.org/{key}?${env:A}=x'}\n" +
				"delete: {url: '${env:A}'}\nproxy: {url: 'http://${env:A}:80'}\nauth: {oauth2: {token_url: 'https://example.org:${env:A}/', client_id: a, client_secret: '${env:A}'}}\nheaders: {'${env:A}': x}",
			[]string{"url", "probe_url", "read.url", "delete.url", "proxy.url", "auth.oauth2.token_url", "headers.${env:A}"},
		},
		{"statuses", "url: https://example.org\nstatuses: {404: stale}", []string{"statuses"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Kind().Check([]byte(c.config))
			if !errors.Is(err, connectors.ErrConfig) {
				t.Fatalf("got %v", err)
			}
			for _, f := range c.fields {
				if !strings.Contains(err.Error(), f) {
					t.Errorf("%s is not named: %v", f, err)
				}
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("a secret is shown: %v", err)
			}
			if _, err := Kind().Open(t.Context(), connectors.Env{}, []byte(c.config)); connectors.ClassOf(err) != connectors.Misconfigured {
				t.Errorf("Open gives %v", err)
			}
		})
	}
}

// TestBadSecrets: what only shows when references are resolved is refused when
// the connector is opened, all at once and without showing a value.
func TestBadSecrets(t *testing.T) {
	env := connectortest.Env(map[string]string{"HEADER": "hidden-value\r\nX: y", "SIGN": "whsec_hidden-value", "PEM": "hidden-value"})
	_, err := New(t.Context(), env, Config{
		URL:     "https://example.org/",
		Headers: map[string]connectors.Ref{"X-Secret": "${env:HEADER}"},
		Signing: Signing{Secrets: []connectors.Ref{"${env:SIGN}"}},
		TLS:     connkit.TLS{CA: "${env:PEM}", Cert: "${env:PEM}", Key: "${env:PEM}"},
	})
	if connectors.ClassOf(err) != connectors.Misconfigured || !errors.Is(err, connectors.ErrConfig) {
		t.Fatalf("got %v", err)
	}
	for _, field := range []string{"X-Secret", "signing.secrets", "tls.ca"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named: %v", field, err)
		}
	}
	if strings.Contains(err.Error(), "hidden-value") {
		t.Errorf("a secret is shown: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("url: https://example.org/{key}"))
	f.Add([]byte("url: https://example.org\nauth: {bearer: '${env:A}'}\nstatuses: {4xx: ok}"))
	f.Add([]byte(`{"url": "http://[::1]", "allow_cidrs": ["::1/128"], "ack": {"jq": ".a"}}`))
	f.Add([]byte("a: &a [*a]"))
	env := connectortest.Env(map[string]string{"A": "value"})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Decode(data)
		if err != nil {
			if !errors.Is(err, connectors.ErrConfig) {
				t.Errorf("error %v does not wrap ErrConfig", err)
			}
			return
		}
		// What Decode accepts can be opened, or fails for the resolved values.
		conn, err := New(t.Context(), env, c)
		if err != nil {
			if connectors.ClassOf(err) != connectors.Misconfigured {
				t.Errorf("New: %v", err)
			}
			return
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
