package connhttp

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Validate checks a configuration that has its defaults, without resolving a
// secret. What a reference hides is checked when the connector is opened.
func (c Config) Validate() error {
	var p connectors.Problems
	checkURL(&p, "url", c.URL, true)
	connkit.OneOf(&p, "method", c.Method, http.MethodPost, http.MethodPut, http.MethodPatch)
	// What a tombstone takes over from an upsert has been looked at already.
	if c.Delete != nil && c.Delete.URL != c.URL {
		checkURL(&p, "delete.url", c.Delete.URL, true)
	}
	if c.Delete != nil && c.Delete.Method != c.Method {
		connkit.OneOf(&p, "delete.method", c.Delete.Method, http.MethodDelete, http.MethodPost, http.MethodPut, http.MethodPatch)
	}
	connkit.OneOf(&p, "body", c.Body, bodyPayload, bodyEvent)
	connkit.OneOf(&p, "on_gone", c.OnGone, goneDead, gonePause)
	if c.ProbeURL != "" {
		checkURL(&p, "probe_url", c.ProbeURL, false)
	}
	c.Read.check(&p)
	c.checkHeaders(&p)
	c.Auth.check(&p)
	for _, s := range c.Signing.Secrets {
		connkit.MustRefer(&p, "signing.secrets", s)
	}
	c.TLS.Check(&p)
	c.Proxy.check(&p)
	if d := c.ConnectTimeout.D(); d < minTimeout || d > maxTimeout {
		p.Add("connect_timeout", "%v is outside %v..%v", d, minTimeout, maxTimeout)
	}
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	}
	c.checkLiteralHosts(&p)
	if _, err := newTable(c.Statuses, c.OnGone); err != nil {
		p.Add("statuses", "%v", err)
	}
	if _, err := compileRule(c.Ack.JQ); err != nil {
		p.Add("ack.jq", "%v", err)
	}
	connkit.OneOf(&p, "ack.otherwise", c.Ack.Otherwise,
		connectors.Transient.String(), connectors.Throttled.String(), connectors.Permanent.String(), connectors.Misconfigured.String(), connectors.Unready.String())
	if _, err := compileRule(c.HeldVersion); err != nil {
		p.Add("held_version", "%v", err)
	}
	return p.Err()
}

func checkURL(p *connectors.Problems, path string, ref connectors.Ref, templated bool) {
	if ref == "" {
		p.Add(path, "it is missing")
		return
	}
	if err := connkit.CheckURL(ref); err != nil {
		p.Add(path, "%v", err)
		return
	}
	t, err := parseTemplate(connkit.Sample(ref))
	if err != nil {
		p.Add(path, "%v", err)
	} else if err := t.fixed(); !templated && err != nil {
		p.Add(path, "%v", err)
	}
}

// checkLiteralHosts refuses an address that would be refused at every call.
func (c Config) checkLiteralHosts(p *connectors.Problems) {
	urls := map[string]string{
		"url": string(c.URL), "probe_url": string(c.ProbeURL), "read.url": string(c.Read.URL), "proxy.url": c.Proxy.URL,
		"auth.oauth2.token_url": string(c.Auth.OAuth2.TokenURL),
	}
	if c.Delete != nil && c.Delete.URL != c.URL {
		urls["delete.url"] = string(c.Delete.URL)
	}
	for _, path := range slices.Sorted(maps.Keys(urls)) {
		u, err := url.Parse(filledIn(connkit.Sample(connectors.Ref(urls[path]))))
		if err != nil {
			continue // said already
		}
		var denied *connectors.AddressError
		if err := connectors.CheckHost(u.Hostname(), c.AllowCIDRs); errors.As(err, &denied) {
			p.Add(path, "%v", err)
		}
	}
}

func (c Config) checkHeaders(p *connectors.Problems) {
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		path, canonical := "headers."+name, http.CanonicalHeaderKey(name)
		switch {
		case !validHeaderName(name):
			p.Add(path, "it is not the name of a header")
		case reservedHeader(canonical):
			p.Add(path, "the connector sets this header itself")
		case seen[canonical]:
			p.Add(path, "it is there twice, in different case")
		case canonical == "Authorization" && c.Auth.ways() > 0:
			p.Add(path, "it contradicts auth")
		case c.Auth.APIKey.Header != "" && canonical == http.CanonicalHeaderKey(c.Auth.APIKey.Header):
			p.Add(path, "it contradicts auth.api_key.header")
		case secretHeader(canonical):
			connkit.MustRefer(p, path, c.Headers[name])
		}
		seen[canonical] = true
		if !validHeaderValue(connkit.Sample(c.Headers[name])) {
			p.Add(path, "its value has characters that a header cannot carry")
		}
	}
}

// reservedHeader reports whether a header belongs to the connector or to the
// protocol.
func reservedHeader(canonical string) bool {
	for _, prefix := range []string{"Ce-", "Webhook-", "Extsync-", "Proxy-"} {
		if strings.HasPrefix(canonical, prefix) {
			return true
		}
	}
	return slices.Contains([]string{
		"Connection", "Content-Length", "Content-Type", "Host", "Idempotency-Key", "Keep-Alive", "Te", "Trailer",
		"Traceparent", "Tracestate", "Transfer-Encoding", "Upgrade", "Accept-Encoding", "Expect",
	}, canonical)
}

// secretHeader reports whether a header is known to carry credentials.
func secretHeader(canonical string) bool {
	lower := strings.ToLower(canonical)
	for _, word := range []string{"authorization", "cookie", "key", "token", "secret", "password"} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}

func (a Auth) ways() int {
	n := 0
	for _, there := range []bool{a.Bearer != "", a.Basic != Basic{}, a.APIKey != APIKey{}, a.OAuth2.there()} {
		if there {
			n++
		}
	}
	return n
}

func (a Auth) check(p *connectors.Problems) {
	if a.ways() > 1 {
		p.Add("auth", "only one of bearer, basic, api_key and oauth2 can be used")
	}
	if a.Bearer != "" {
		connkit.MustRefer(p, "auth.bearer", a.Bearer)
	}
	if (a.Basic != Basic{}) {
		required(p, "auth.basic.username", a.Basic.Username)
		connkit.MustRefer(p, "auth.basic.password", a.Basic.Password)
		if strings.Contains(a.Basic.Username, ":") {
			p.Add("auth.basic.username", "it must not contain a colon")
		}
	}
	if k := a.APIKey; (k != APIKey{}) {
		connkit.MustRefer(p, "auth.api_key.value", k.Value)
		switch {
		case (k.Header == "") == (k.Query == ""):
			p.Add("auth.api_key", "give exactly one of header and query")
		case k.Header != "" && !validHeaderName(k.Header):
			p.Add("auth.api_key.header", "it is not the name of a header")
		case reservedHeader(http.CanonicalHeaderKey(k.Header)):
			p.Add("auth.api_key.header", "the connector sets this header itself")
		}
	}
	a.OAuth2.check(p)
}

func (o OAuth2) there() bool {
	return o.TokenURL != "" || o.ClientID != "" || o.ClientSecret != "" || len(o.Scopes) > 0 || len(o.Params) > 0
}

func (o OAuth2) check(p *connectors.Problems) {
	if !o.there() {
		return
	}
	checkURL(p, "auth.oauth2.token_url", o.TokenURL, false)
	required(p, "auth.oauth2.client_id", o.ClientID)
	connkit.MustRefer(p, "auth.oauth2.client_secret", o.ClientSecret)
	connkit.OneOf(p, "auth.oauth2.style", o.Style, styleHeader, styleBody)
	for _, name := range []string{"grant_type", "client_id", "client_secret", "scope"} {
		if _, there := o.Params[name]; there {
			p.Add("auth.oauth2.params."+name, "the connector sets this parameter itself")
		}
	}
}

func required(p *connectors.Problems, path, value string) {
	if value == "" {
		p.Add(path, "it is missing")
	}
}

func (x Proxy) check(p *connectors.Problems) {
	if x.URL == "" {
		if x.Username != "" || x.Password != "" {
			p.Add("proxy.url", "it is missing")
		}
		return
	}
	if x.Password != "" {
		connkit.MustRefer(p, "proxy.password", x.Password)
	}
	if (x.Username == "") != (x.Password == "") {
		p.Add("proxy", "username and password go together")
	}
	if _, err := x.parse(); err != nil {
		p.Add("proxy.url", "%v", err)
	}
}
