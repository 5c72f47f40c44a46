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
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
	"github.com/hms-utl/extsync/pkg/schema"
)

// Validate checks a configuration without resolving a secret. What a reference hides is
// checked when the connector is opened.
func (c Config) Validate() error {
	var p connectors.Problems
	schema.Fill(&c)
	p.Check(c)
	c = c.withDefaults()
	checkURL(&p, "url", c.URL, true)
	c.checkShapes(&p)
	checkURL(&p, "probe_url", c.ProbeURL, false)
	c.Read.check(&p)
	c.checkHeaders(&p)
	c.Auth.check(&p)
	c.TLS.Check(&p)
	c.Proxy.check(&p)
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	}
	c.checkLiteralHosts(&p)
	compileAnswers(c.Answers, &p)
	return p.Err()
}

func checkURL(p *connectors.Problems, path string, ref connectors.Ref, templated bool) {
	if ref == "" {
		return // said already, if it is required
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
		"url": string(c.URL), "probe_url": string(c.ProbeURL), "read.url": string(c.Read.URL), "lookup.url": string(c.Lookup.URL), "proxy.url": c.Proxy.URL,
		"auth.oauth2.token_url": string(c.Auth.OAuth2.TokenURL),
	}
	for name, shape := range c.shapes() {
		if shape.URL != c.URL {
			urls[name+".url"] = string(shape.URL)
		}
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
		case !httpkit.ValidHeaderName(name):
			p.Add(path, "it is not the name of a header")
		case reservedHeader(canonical):
			p.Add(path, "the connector sets this header itself")
		case seen[canonical]:
			p.Add(path, "it is there twice, in different case")
		case canonical == "Authorization" && c.Auth.ways() > 0:
			p.Add(path, "it contradicts auth")
		case c.Auth.APIKey.Header != "" && canonical == http.CanonicalHeaderKey(c.Auth.APIKey.Header):
			p.Add(path, "it contradicts auth.api_key.header")
		case connkit.SecretHeader(canonical):
			connkit.MustRefer(p, path, c.Headers[name])
		}
		seen[canonical] = true
		if !httpkit.ValidHeaderValue(connkit.Sample(c.Headers[name])) {
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

func (a Auth) ways() int {
	n := 0
	for _, there := range []bool{a.Bearer != "", a.Basic != httpkit.Basic{}, a.APIKey != APIKey{}, a.OAuth2.there()} {
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
	a.Basic.Check(p, "auth.basic")
	if k := a.APIKey; (k != APIKey{}) {
		switch {
		case (k.Header == "") == (k.Query == ""):
			p.Add("auth.api_key", "give exactly one of header and query")
		case k.Header != "" && !httpkit.ValidHeaderName(k.Header):
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
	for _, name := range []string{"grant_type", "client_id", "client_secret", "scope"} {
		if _, there := o.Params[name]; there {
			p.Add("auth.oauth2.params."+name, "the connector sets this parameter itself")
		}
	}
}

func (x Proxy) check(p *connectors.Problems) {
	if x.URL == "" {
		return
	}
	if (x.Username == "") != (x.Password == "") {
		p.Add("proxy", "username and password go together")
	}
	if _, err := x.parse(); err != nil {
		p.Add("proxy.url", "%v", err)
	}
}
