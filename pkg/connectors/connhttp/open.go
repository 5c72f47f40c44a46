package connhttp

import (
	"crypto/tls"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// opened is a configuration with its references resolved.
type opened struct {
	Config
	env         connectors.Env
	timeout     time.Duration // of a request
	concurrency int
	create      route
	update      route
	remove      route
	lookAt      *template
	byRefs      bool // requests depend on what is remembered
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

// resolve turns a valid configuration into one that can be used.
func resolve(c Config, env connectors.Env) (*opened, error) {
	s := connkit.NewSecrets(env)
	o := &opened{Config: c, env: env, concurrency: env.Concurrency, timeout: connkit.TimeoutOf(env), headers: http.Header{}, scrubber: env.Scrubber()}
	create, update, remove := s.URL("create.url", c.Create.URL), s.URL("update.url", c.Update.URL), s.URL("delete.url", c.Delete.URL)
	lookAt := s.URL("lookup.url", c.Lookup.URL)
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
	o.create, err = c.Create.route(create)
	note("create", err)
	o.update, err = c.Update.route(update)
	note("update", err)
	if !reflect.DeepEqual(c.Update, c.Create) {
		o.update.purpose = "/update"
	}
	o.remove, err = c.Delete.route(remove)
	note("delete", err)
	o.byRefs = c.dependsOnRefs()
	if lookAt != "" {
		to, err := parseReadURL(lookAt)
		note("lookup.url", err)
		o.lookAt = &to
	}
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
	case a.Basic != httpkit.Basic{}:
		password := s.Text("auth.basic.password", a.Basic.Password)
		o.headers.Set("Authorization", a.Basic.Header(password, o.scrubber))
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
		if !httpkit.ValidHeaderValue(o.headers.Get(name)) {
			p.Add(name, "its resolved value has characters that a header cannot carry, or spaces around it")
		}
	}
}
