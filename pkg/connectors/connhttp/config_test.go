package connhttp

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

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
		URL: "https://example.org/hook", Method: "POST", Body: "payload",
		Create:          &Shape{Method: "POST", URL: "https://example.org/hook"},
		Update:          &Shape{Method: "POST", URL: "https://example.org/hook"},
		Delete:          &Shape{Method: "POST", URL: "https://example.org/hook"},
		OnForeignChange: "conflict",
		Auth:            Auth{OAuth2: OAuth2{Style: "header"}},
		ConnectTimeout:  connectors.Duration(5 * time.Second),
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	c, err = Decode([]byte("url: https://example.org/{key}\nmethod: PUT\ndelete: {}"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*c.Delete, Shape{Method: "DELETE", URL: "https://example.org/{key}"}) {
		t.Errorf("delete is %+v", *c.Delete)
	}
}

func TestWholeConfig(t *testing.T) {
	_, err := Decode([]byte(`
url: https://example.org/{key}/{version}?token=${env:T}
method: PATCH
create: {headers: {If-None-Match: "*"}}
update: {method: PUT, url: "https://example.org/{ref.id}?token=${env:T}", headers: {If-Match: '{ref.etag}'}}
delete: {method: POST, url: "https://example.org/gone/{key}/{ref.id}"}
lookup: {url: "https://example.org/?key={key}", found: .body.n > 0, remember: {id: .body.id}, after: 3s}
read: {url: "https://example.org/{key}", digest: .digest, remember: {etag: .headers.etag}}
on_foreign_change: overwrite
body: cloudevent
headers: {X-Tenant: a, X-Secret: "${file:/run/secret}"}
auth: {oauth2: {token_url: "https://id.example.org/token", client_id: me, client_secret: "${env:S}", scopes: [a], params: {audience: b}, style: body}}
signing: {secrets: ["${env:A}", "${env:B}"]}
tls: {ca: "${file:/ca.pem}", cert: "${file:/c.pem}", key: "${file:/k.pem}", server_name: example.org}
proxy: {url: "socks5://proxy.example.org:1080", username: u, password: "${env:P}"}
connect_timeout: 1s
allow_cidrs: [10.0.0.0/8, "fd00::/8"]
answers:
  - {when: .status == 404, class: transient, retry_after: 90}
  - {when: .status >= 500, class: throttled, retry_after: 5m}
  - {when: .status == 409, class: compare, version: .body.current.version, digest: .body.current.digest}
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
		{"enumerations", "url: https://example.org\nbody: xml", []string{"body"}},
		{"rules", "url: https://example.org\nanswers: [{when: '.[', class: ok}, {when: 'true', class: ok}, {when: 'true', class: ok}, {when: 'true', class: ok, version: .v, retry_after: 3s}, " +
			"{when: 'true', class: throttled, retry_after: 48h}, {when: 'true', class: compare, version: nosuchfunction, digest: '('}]", []string{
			"answers[0].when", "answers[3].version", "answers[3].retry_after", "answers[4].retry_after",
			"answers[5].version", "answers[5].digest",
		}},
		{"classes", "url: https://example.org\nanswers: [{when: 'true', class: stale}, {class: ok}]", []string{`answers[0].class: "stale" is none of ok, transient`, "answers[1].when"}},
		{"values", "url: https://example.org\ncreate: {method: GET}\ndelete: {method: HEAD}\nlookup: {after: 2h}\non_foreign_change: ask", []string{"create.method", "delete.method", "lookup.after", "on_foreign_change"}},
		{"shapes", "url: https://example.org/{ref.id}\ncreate: {method: DELETE, headers: {If-None-Match: '{ref.etag}', ce-id: x}}\nupdate: {url: 'https://example.org/{ref.ID}', headers: {X: '{key}'}}\n" +
			"delete: {headers: {X-Token: x}}\nlookup: {found: '('}", []string{
			"create.method", "create: {ref.id}", "create: {ref.etag}", "create.headers.ce-id", "update.url", "update.headers.X", "delete.headers.X-Token", "delete: {ref.id}",
			"lookup.url", "lookup.found",
		}},
		{"memories", "url: https://example.org\nanswers: [{when: 'true', class: ok, remember: {ID: .a, b: '('}}, {when: 'true', class: throttled, remember: {a: .a}}]\n" +
			"read: {url: 'https://example.org/{key}', remember: {c: ''}}\nlookup: {url: 'https://example.org/{key}/{ref.a}'}", []string{
			"answers[0].remember", "answers[0].remember.b", "answers[1].remember", "read.remember.c", "lookup.url", "lookup.remember",
		}},
		{"too many rules", "url: https://example.org\nanswers: [" + strings.Repeat("{when: 'true', class: ok},", maxAnswers+1) + "]", []string{"answers"}},
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
	f.Add([]byte("url: https://example.org\nauth: {bearer: '${env:A}'}\nanswers: [{when: .status == 400, class: ok}]"))
	f.Add([]byte(`{"url": "http://[::1]", "allow_cidrs": ["::1/128"], "answers": [{"when": ".a", "class": "compare"}]}`))
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
