package connhttp

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// minMasked is the length from which a secret is masked in what the target says,
// in bytes. Shorter ones would mask ordinary words.
const minMasked = 4

// opened is a configuration with its references resolved. The values must not
// leave the package.
type opened struct {
	Config
	concurrency int
	upsert      route
	remove      route
	probe       *template
	readFrom    *template
	headers     http.Header
	query       string // of an API key, "name=value" in escaped form
	oauth       *oauthConfig
	signers     []signer
	tls         *tls.Config
	proxy       *url.URL
	mask        *mask
}

// A route is where and how updates of one op go.
type route struct {
	method string
	to     template
}

// A secretReader resolves references and remembers what failed, and what was
// secret.
type secretReader struct {
	secrets connectors.Secrets
	missing []string
	values  []string
}

func (s *secretReader) text(path string, ref connectors.Ref) string {
	value, err := s.secrets.Resolve(ref)
	if err != nil {
		var e *connectors.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		s.missing = append(s.missing, path+": "+err.Error())
		return ""
	}
	if ref.HasReference() {
		s.remember(value)
	}
	return value
}

func (s *secretReader) remember(value string) {
	if len(value) >= minMasked {
		s.values = append(s.values, value)
	}
}

// resolve turns a valid configuration into one that can be used.
func resolve(c Config, env connectors.Env) (*opened, error) {
	s := &secretReader{secrets: env.Secrets}
	o := &opened{Config: c, concurrency: env.Concurrency, headers: http.Header{}}
	ca, cert, key := s.text("tls.ca", c.TLS.CA), s.text("tls.cert", c.TLS.Cert), s.text("tls.key", c.TLS.Key)
	upsert, remove := s.text("url", c.URL), s.text("delete.url", c.Delete.URL)
	read := s.text("read.url", c.Read.URL)
	probe, proxy := s.text("probe_url", c.ProbeURL), s.text("proxy.url", c.Proxy.URL)
	user, password := s.text("proxy.username", c.Proxy.Username), s.text("proxy.password", c.Proxy.Password)
	o.resolveHeaders(s)
	o.resolveAuth(s)
	signing := make([]string, len(c.Signing.Secrets))
	for i, ref := range c.Signing.Secrets {
		signing[i] = s.text("signing.secrets", ref)
	}
	if len(s.missing) > 0 {
		return nil, misconfigured("secret", fmt.Errorf("%w: %s", connectors.ErrSecret, strings.Join(s.missing, "; ")))
	}

	var p connectors.Problems
	note := func(path string, err error) {
		if err != nil {
			p.Add(path, "%v", err)
		}
	}
	var err error
	o.upsert.method, o.remove.method = c.Method, c.Delete.Method
	o.upsert.to, err = parseTemplate(upsert)
	note("url", err)
	o.remove.to, err = parseTemplate(remove)
	note("delete.url", err)
	if probe != "" {
		to, err := parseTemplate(probe)
		note("probe_url", err)
		note("probe_url", to.fixed())
		o.probe = &to
	}
	if read != "" {
		to, err := parseReadURL(read)
		note("read.url", err)
		o.readFrom = &to
	}
	if proxy != "" {
		o.proxy, err = c.Proxy.parse(proxy)
		note("proxy.url", err)
		if err == nil && user != "" {
			o.proxy.User = url.UserPassword(user, password)
		}
	}
	if o.oauth != nil {
		to, err := parseTemplate(o.oauth.TokenURL)
		note("auth.oauth2.token_url", err)
		note("auth.oauth2.token_url", to.fixed())
	}
	for _, secret := range signing {
		sg, err := newSigner(secret)
		note("signing.secrets", err)
		o.signers = append(o.signers, sg)
	}
	o.checkHeaders(&p)
	if o.tls, err = tlsConfig(ca, cert, key, c.TLS.ServerName); err != nil {
		p.Add("tls", "%v", err)
	}
	if err := p.Err(); err != nil {
		return nil, misconfigured("config", err)
	}
	o.mask = newMask(s.values)
	return o, nil
}

func (o *opened) resolveHeaders(s *secretReader) {
	o.headers.Set("User-Agent", "extsync")
	for _, name := range slices.Sorted(maps.Keys(o.Headers)) {
		o.headers.Set(name, s.text("headers."+name, o.Headers[name]))
	}
}

// resolveAuth puts credentials where they are sent from. Those of OAuth2 are
// fetched later.
func (o *opened) resolveAuth(s *secretReader) {
	a := o.Auth
	switch {
	case a.Bearer != "":
		o.headers.Set("Authorization", "Bearer "+s.text("auth.bearer", a.Bearer))
	case a.Basic != Basic{}:
		both := s.text("auth.basic.username", a.Basic.Username) + ":" + s.text("auth.basic.password", a.Basic.Password)
		encoded := base64.StdEncoding.EncodeToString([]byte(both))
		s.remember(encoded)
		o.headers.Set("Authorization", "Basic "+encoded)
	case a.APIKey != APIKey{}:
		value := s.text("auth.api_key.value", a.APIKey.Value)
		if a.APIKey.Header != "" {
			o.headers.Set(a.APIKey.Header, value)
			return
		}
		s.remember(url.QueryEscape(value))
		o.query = url.QueryEscape(a.APIKey.Query) + "=" + url.QueryEscape(value)
	case a.OAuth2.there():
		o.oauth = resolveOAuth2(a.OAuth2, s)
	}
}

// checkHeaders looks at the values that Validate could not see.
func (o *opened) checkHeaders(p *connectors.Problems) {
	for _, name := range slices.Sorted(maps.Keys(o.headers)) {
		if !validHeaderValue(o.headers.Get(name)) {
			p.Add(name, "its resolved value has characters that a header cannot carry, or spaces around it")
		}
	}
}
