package connhttp

import (
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Defaults of Config.
const (
	DefaultMethod         = "POST"
	DefaultDeleteMethod   = "DELETE"
	DefaultConnectTimeout = 5 * time.Second
)

// Config is the connector.config of a channel with an HTTP target. Texts of type
// connectors.Ref may refer to secrets, which are resolved when the connector is
// opened; the fields that say so must be references.
type Config struct {
	// URL is where updates go. {key} and {version} in its path or query stand for
	// the update's, escaped. It holds no user name or password, and refers to secrets in
	// the values of its query only, as all URLs here. Required.
	URL connectors.Ref `yaml:"url" json:"url"`
	// Method is POST, PUT or PATCH. Default: POST.
	Method string `yaml:"method" json:"method,omitempty"`
	// Delete says how tombstones are sent. Default: as upserts are, and the target
	// tells them apart by ce-op.
	Delete *Delete `yaml:"delete" json:"delete,omitempty"`
	// Body is "payload", the update's payload with its attributes in headers, or
	// "cloudevent", one JSON document with everything (CloudEvents structured
	// mode). The headers are sent either way. Default: payload.
	Body string `yaml:"body" json:"body,omitempty"`
	// Headers are sent with every request. Those that carry credentials
	// (Authorization, Cookie, names with "key", "token" or "secret") must hold a
	// reference.
	Headers map[string]connectors.Ref `yaml:"headers" json:"headers,omitempty"`
	// Auth is how the connector proves who it is. At most one way.
	Auth Auth `yaml:"auth" json:"auth,omitzero"`
	// Signing signs every request by Standard Webhooks.
	Signing Signing `yaml:"signing" json:"signing,omitzero"`
	// TLS changes whom the connector trusts and which certificate it shows.
	TLS connkit.TLS `yaml:"tls" json:"tls,omitzero"`
	// Proxy is what requests go through. The proxy settings of the process's
	// environment are not used.
	Proxy Proxy `yaml:"proxy" json:"proxy,omitzero"`
	// ConnectTimeout bounds TCP's part of a connection, and again that of TLS. The whole of
	// a request is bounded by the channel's timeout alone. Default: 5s.
	ConnectTimeout connectors.Duration `yaml:"connect_timeout" json:"connect_timeout,omitzero"`
	// AllowCIDRs are the networks, out of those that are not public, in which the
	// target (or the proxy, or the token endpoint) may be: "10.20.0.0/16". The worker's
	// operator must allow them. Default: none, only public addresses are connected to.
	AllowCIDRs []string `yaml:"allow_cidrs" json:"allow_cidrs,omitempty"`
	// Statuses changes the class of answers: "409", or "5xx" for what has no entry
	// of its own, to ok, transient, throttled, permanent, conflict, misconfigured or
	// unready. 404 and 410 to a delete are ok whatever it says.
	Statuses map[string]string `yaml:"statuses" json:"statuses,omitempty"`
	// OnGone says what an answer 410 to an upsert does: "dead_letter" the update,
	// or "pause" the channel. Default: dead_letter.
	OnGone string `yaml:"on_gone" json:"on_gone,omitempty"`
	// Ack is what a successful answer must say besides its status.
	Ack Ack `yaml:"ack" json:"ack,omitzero"`
	// HeldVersion is a jq expression that takes the JSON body of an answer 409, or of
	// class conflict, and gives the version that the target holds, for targets that do
	// not send it in the header ce-entityversion. Default: only the header.
	HeldVersion string `yaml:"held_version" json:"held_version,omitempty"`
	// ProbeURL answers GET with a 2xx status when the target is well. Default: the
	// connector cannot probe.
	ProbeURL connectors.Ref `yaml:"probe_url" json:"probe_url,omitempty"`
	// Read says where the target tells what it holds of a key, for audits. Default:
	// the connector cannot be read.
	Read Read `yaml:"read" json:"read,omitzero"`
}

// Delete says how tombstones are sent.
type Delete struct {
	// Method is DELETE, POST, PUT or PATCH. Default: DELETE.
	Method string `yaml:"method" json:"method,omitempty"`
	// URL is as Config.URL. Default: Config.URL.
	URL connectors.Ref `yaml:"url" json:"url,omitempty"`
}

// Auth is one way to authenticate. The zero Auth is none.
type Auth struct {
	// Bearer is a token. It must be a reference.
	Bearer connectors.Ref `yaml:"bearer" json:"bearer,omitempty"`
	Basic  Basic          `yaml:"basic" json:"basic,omitzero"`
	APIKey APIKey         `yaml:"api_key" json:"api_key,omitzero"`
	OAuth2 OAuth2         `yaml:"oauth2" json:"oauth2,omitzero"`
}

// Basic is HTTP basic authentication.
type Basic struct {
	Username string         `yaml:"username" json:"username,omitempty"` // required
	Password connectors.Ref `yaml:"password" json:"password,omitempty"` // required, a reference
}

// APIKey is a key in a header or in the query: exactly one of the two.
type APIKey struct {
	Header string         `yaml:"header" json:"header,omitempty"`
	Query  string         `yaml:"query" json:"query,omitempty"`
	Value  connectors.Ref `yaml:"value" json:"value,omitempty"` // required, a reference
}

// OAuth2 gets tokens by client credentials (RFC 6749, section 4.4). A token is
// kept until it expires or the target refuses it.
type OAuth2 struct {
	TokenURL     connectors.Ref `yaml:"token_url" json:"token_url,omitempty"`         // required
	ClientID     string         `yaml:"client_id" json:"client_id,omitempty"`         // required
	ClientSecret connectors.Ref `yaml:"client_secret" json:"client_secret,omitempty"` // required, a reference
	Scopes       []string       `yaml:"scopes" json:"scopes,omitempty"`
	// Params are sent to the token endpoint besides, such as "audience".
	Params map[string]connectors.Ref `yaml:"params" json:"params,omitempty"`
	// Style is "header" (basic authentication) or "body". Default: header.
	Style string `yaml:"style" json:"style,omitempty"`
}

// Signing holds the secrets of Standard Webhooks: "whsec_..." (HMAC-SHA256) or
// "whsk_..." (an ed25519 private key). Each gives one signature, so that a secret
// can be replaced without a gap. Each must be a reference. Default: unsigned.
type Signing struct {
	Secrets []connectors.Ref `yaml:"secrets" json:"secrets,omitempty"`
}

// Proxy is an HTTP or SOCKS5 proxy. It resolves the target's name, so that
// its own rules decide which addresses can be reached through it.
type Proxy struct {
	URL      string         `yaml:"url" json:"url,omitempty"` // http:// or socks5://host:port
	Username string         `yaml:"username" json:"username,omitempty"`
	Password connectors.Ref `yaml:"password" json:"password,omitempty"` // a reference
}

// Ack is a condition on the body of an answer whose status is a success.
type Ack struct {
	// JQ takes the JSON body (null if it is empty) and must give true. Required
	// for the rule to be there.
	JQ string `yaml:"jq" json:"jq,omitempty"`
	// Otherwise is the class of an answer that does not hold: transient, throttled,
	// permanent, misconfigured or unready. Default: transient.
	Otherwise string `yaml:"otherwise" json:"otherwise,omitempty"`
}

// Values of Config.Body and Config.OnGone.
const (
	bodyPayload  = "payload"
	bodyEvent    = "cloudevent"
	goneDead     = "dead_letter"
	gonePause    = "pause"
	styleHeader  = "header"
	styleBody    = "body"
	ackByDefault = "transient"
	maxTimeout   = time.Hour
	minTimeout   = time.Millisecond
	// defaultTimeout bounds a request of a program that names no timeout.
	defaultTimeout = 30 * time.Second
	maxHeaderText  = 16 << 10
)

// Decode reads a configuration strictly, fills in the defaults and validates it.
// Its error wraps connectors.ErrConfig and names every bad field.
func Decode(data []byte) (Config, error) {
	var c Config
	if err := connectors.DecodeStrict(data, &c); err != nil {
		return Config{}, err
	}
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func (c Config) withDefaults() Config {
	setDefault(&c.Method, DefaultMethod)
	setDefault(&c.Body, bodyPayload)
	setDefault(&c.OnGone, goneDead)
	setDefault(&c.Ack.Otherwise, ackByDefault)
	setDefault(&c.Auth.OAuth2.Style, styleHeader)
	setDefault(&c.ConnectTimeout, connectors.Duration(DefaultConnectTimeout))
	if c.Delete == nil {
		c.Delete = &Delete{Method: c.Method, URL: c.URL}
		return c
	}
	d := *c.Delete // the caller's stays as it is
	setDefault(&d.Method, DefaultDeleteMethod)
	setDefault(&d.URL, c.URL)
	c.Delete = &d
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
