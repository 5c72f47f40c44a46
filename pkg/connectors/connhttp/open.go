package connhttp

import (
	"crypto/tls"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// opened is a configuration with its references resolved.
type opened struct {
	Config
	env         connectors.Env
	timeout     time.Duration // of a request
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
	dialer      *connectors.Dialer
	scrubber    *connectors.Scrubber
}

// A route is where and how updates of one op go.
type route struct {
	method string
	to     template
}

// resolve turns a valid configuration into one that can be used.
func resolve(c Config, env connectors.Env) (*opened, error) {
	s := connkit.NewSecrets(env)
	o := &opened{Config: c, env: env, concurrency: env.Concurrency, timeout: env.Timeout, headers: http.Header{}, scrubber: env.Scrubber()}
	if o.timeout <= 0 {
		o.timeout = defaultTimeout
	}
	upsert, remove := s.URL("url", c.URL), s.URL("delete.url", c.Delete.URL)
	read, probe := s.URL("read.url", c.Read.URL), s.URL("probe_url", c.ProbeURL)
	password := s.Text("proxy.password", c.Proxy.Password)
	o.resolveHeaders(s)
	o.resolveAuth(s)
	signing := make([]string, len(c.Signing.Secrets))
	for i, ref := range c.Signing.Secrets {
		signing[i] = s.Text("signing.secrets", ref)
	}
	var p connectors.Problems
	note := func(path string, err error) {
		if err != nil {
			p.Add(path, "%v", err)
		}
	}
	var err error
	o.tls, err = c.TLS.Config(s)
	note("tls", err)
	if err := s.Err(); err != nil {
		return nil, err
	}
	o.upsert.method, o.remove.method = c.Method, c.Delete.Method
	o.upsert.to, err = parseTemplate(upsert)
	note("url", err)
	o.remove.to, err = parseTemplate(remove)
	note("delete.url", err)
	if probe != "" {
		to, err := parseTemplate(probe)
		note("probe_url", err)
		o.probe = &to
	}
	if read != "" {
		to, err := parseReadURL(read)
		note("read.url", err)
		o.readFrom = &to
	}
	if c.Proxy.URL != "" {
		o.proxy, err = c.Proxy.parse()
		note("proxy.url", err)
		if err == nil && c.Proxy.Username != "" {
			o.proxy.User = url.UserPassword(c.Proxy.Username, password)
			o.scrubber.Add(c.Proxy.Username + ":" + password)
		}
	}
	for _, secret := range signing {
		if env.Previews() {
			o.signers = append(o.signers, func([]byte) string { return connectors.Hidden })
			continue
		}
		sg, err := newSigner(secret)
		note("signing.secrets", err)
		o.signers = append(o.signers, sg)
	}
	o.checkHeaders(&p)
	if err := p.Err(); err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	o.dialer, err = env.Dialer(c.AllowCIDRs)
	if err != nil {
		return nil, err
	}
	o.dialer.Timeout = c.ConnectTimeout.D()
	return o, nil
}

func (o *opened) resolveHeaders(s *connkit.Secrets) {
	o.headers.Set("User-Agent", "extsync")
	for _, name := range slices.Sorted(maps.Keys(o.Headers)) {
		o.headers.Set(name, s.Text("headers."+name, o.Headers[name]))
	}
}

// resolveAuth puts credentials where they are sent from. Those of OAuth2 are
// fetched later.
func (o *opened) resolveAuth(s *connkit.Secrets) {
	a := o.Auth
	switch {
	case a.Bearer != "":
		o.headers.Set("Authorization", "Bearer "+s.Text("auth.bearer", a.Bearer))
	case a.Basic != Basic{}:
		both := a.Basic.Username + ":" + s.Text("auth.basic.password", a.Basic.Password)
		encoded := base64.StdEncoding.EncodeToString([]byte(both))
		o.scrubber.Add(encoded)
		o.headers.Set("Authorization", "Basic "+encoded)
	case a.APIKey != APIKey{}:
		value := s.Text("auth.api_key.value", a.APIKey.Value)
		if a.APIKey.Header != "" {
			o.headers.Set(a.APIKey.Header, value)
			return
		}
		o.query = url.QueryEscape(a.APIKey.Query) + "=" + s.Escape(value)
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
