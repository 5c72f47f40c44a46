package connhttp

import (
	"net/http"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
	"github.com/hms-utl/extsync/pkg/schema"
)

// Config is the connector.config of a channel with an HTTP target. Texts of type
// connectors.Ref may refer to secrets, which are resolved when the connector is
// opened; the fields that say so must be references.
type Config struct {
	// URL is where updates go. {key} and {version} in its path or query stand for
	// the update's, escaped; {ref.NAME}, in Update and Delete, for a remembered value. It holds no user name or password, and refers to secrets in
	// the values of its query only, as all URLs here. Required.
	URL connectors.Ref `yaml:"url" json:"url" required:"true" format:"url-template" example:"https://target.example/appointments/{key}" group:"Target" doc:"Updates go to this address. {key} and {version} in its path or query stand for the update's, escaped. It has no user name or password, and refers to secrets in the values of its query only. Without {key} the target must tell entities apart by the header ce-subject or by the payload."`
	// Method is POST, PUT or PATCH. Default: POST.
	Method string `yaml:"method" json:"method,omitempty" default:"POST" enum:"POST,PUT,PATCH" group:"Target" doc:"The method of an upsert. A target answers 405 to a method that it does not take, and the channel is blocked."`
	// Create says how an upsert is sent while nothing is remembered of its key. Default: by
	// Method to URL.
	Create *Shape `yaml:"create" json:"create,omitempty" example:"{method: POST}" group:"Requests" doc:"Sends an upsert of a key of which nothing is remembered. Without it method and url do."`
	// Update says how an upsert is sent once all is remembered that Update names. Default:
	// as Create says.
	Update *Shape `yaml:"update" json:"update,omitempty" example:"{method: PUT, url: 'https://target.example/appointments/{ref.id}'}" group:"Requests" doc:"Sends an upsert once all values are remembered that it names. Without it create does. A condition on an ETag keeps a late writer out only if the ETag is another one after each write: where the target makes it from the content, the mapping must put the version into the document."`
	// Delete says how tombstones are sent. Default: as upserts are, and the target
	// tells them apart by ce-op. If it names values of which nothing is known, there is
	// nothing to delete.
	Delete *Shape `yaml:"delete" json:"delete,omitempty" example:"{method: DELETE}" group:"Requests" doc:"Sends tombstones in another way than upserts. If it names values that are not remembered, there is nothing to delete. Without it the target must tell them apart by the header ce-op, or it stores an empty entity."`
	// Lookup finds out what the target has of a key. Default: nothing does.
	Lookup Lookup `yaml:"lookup" json:"lookup,omitzero" group:"Requests" doc:"Finds the object of a key before one is created, where an earlier answer may have been lost. Without it a target that does not know repeated requests may get a second object."`
	// OnForeignChange says what becomes of an update if somebody else has changed or
	// deleted the object: "conflict", or "overwrite" it. Default: conflict.
	OnForeignChange string `yaml:"on_foreign_change" json:"on_foreign_change,omitempty" default:"conflict" enum:"conflict,overwrite" group:"Requests" doc:"If somebody else has changed or deleted the object, conflict ends the update as a conflict, and overwrite writes over the change."`
	// Body is "payload", the update's payload with its attributes in headers, or
	// "cloudevent", one JSON document with everything (CloudEvents structured
	// mode). The headers are sent either way. Default: payload.
	Body string `yaml:"body" json:"body,omitempty" default:"payload" enum:"payload,cloudevent" group:"Content" doc:"payload sends the update's payload, with its attributes in headers. cloudevent sends one JSON document with everything (CloudEvents structured mode). The headers are sent either way."`
	// Headers are sent with every request. Those that carry credentials
	// (Authorization, Cookie, names with "key", "token" or "secret") must hold a
	// reference.
	Headers map[string]connectors.Ref `yaml:"headers" json:"headers,omitempty" example:"{X-Agency: north}" group:"Content" doc:"Further headers of every request. Those that carry credentials (Authorization, Cookie, names with key, token or secret) must hold a reference. The connector's own headers, such as ce-subject or Content-Type, are refused."`
	// Auth is how the connector proves who it is. At most one way.
	Auth Auth `yaml:"auth" json:"auth,omitzero" group:"Authentication" doc:"Proves to the target that a request is ours, in at most one way."`
	// Signing signs every request by Standard Webhooks.
	Signing Signing `yaml:"signing" json:"signing,omitzero" group:"Authentication" doc:"Signs every request by Standard Webhooks, so that the target knows it for ours."`
	// TLS changes whom the connector trusts and which certificate it shows.
	TLS connkit.TLS `yaml:"tls" json:"tls,omitzero" example:"{cert: '${file:/run/extsync/secrets/client.pem}', key: '${file:/run/extsync/secrets/client.key}'}" group:"Connection" doc:"Trusts other authorities than the system's, and shows a certificate of the channel's own."`
	// Proxy is what requests go through. The proxy settings of the process's
	// environment are not used.
	Proxy Proxy `yaml:"proxy" json:"proxy,omitzero" example:"{url: 'http://proxy.example:3128'}" group:"Connection" doc:"All requests go through this proxy. The proxy settings of the process's environment are not used."`
	// ConnectTimeout bounds TCP's part of a connection, and again that of TLS. The whole of
	// a request is bounded by the channel's timeout alone. Default: 5s.
	ConnectTimeout connectors.Duration `yaml:"connect_timeout" json:"connect_timeout,omitzero" default:"5s" min:"1ms" max:"1h" advanced:"true" group:"Connection" doc:"Bounds TCP's part of a connection, and again that of TLS. The channel's timeout alone bounds the whole of a request. Too short a time makes a target that is far away count as down."`
	// AllowCIDRs are the networks, out of those that are not public, in which the
	// target (or the proxy, or the token endpoint) may be: "10.20.0.0/16". The worker's
	// operator must allow them. Default: none, only public addresses are connected to.
	AllowCIDRs []string `yaml:"allow_cidrs" json:"allow_cidrs,omitempty" example:"[10.20.0.0/16]" group:"Connection" doc:"The target, the proxy and the token endpoint may be in these networks, besides public ones. The worker's operator must allow them, too. Without it only public addresses are connected to."`
	// Answers are rules over what the target answers; the first that matches decides.
	// Where none does, the status decides as docs/answers.md lists them. 404 and 410 to a
	// delete are ok unless the rule distinguishes deletes by .op. At most 64.
	Answers []Answer `yaml:"answers" json:"answers,omitempty" max:"64" group:"Answers" doc:"Rules over the target's answers; the first that matches decides. Where none does, the status decides as docs/answers.md lists. 404 and 410 to a delete are ok unless a rule asks for .op. A rule that calls a refusal ok loses the update."`
	// ProbeURL answers GET with a 2xx status when the target is well. Default: the
	// connector cannot probe.
	ProbeURL connectors.Ref `yaml:"probe_url" json:"probe_url,omitempty" format:"url" example:"https://target.example/health" group:"Target" doc:"Answers GET with a 2xx status when the target is well. Without it, a channel that waits for its target tries updates."`
	// Read says where the target tells what it holds of a key, for audits. Default:
	// the connector cannot be read.
	Read Read `yaml:"read" json:"read,omitzero" example:"{url: 'https://target.example/appointments/{key}'}" group:"Target" doc:"Reads a key back from the target. Without it the channel cannot be audited."`
}

// Auth is one way to authenticate. The zero Auth is none.
type Auth struct {
	// Bearer is a token. It must be a reference.
	Bearer connectors.Ref `yaml:"bearer" json:"bearer,omitempty" reference:"true" example:"${env:CHANNEL_CALENDAR_TOKEN}" doc:"A token for the header Authorization, as a reference to a secret. A target that refuses it blocks the channel."`
	Basic  httpkit.Basic  `yaml:"basic" json:"basic,omitzero" doc:"A user name and password (HTTP basic authentication)."`
	APIKey APIKey         `yaml:"api_key" json:"api_key,omitzero" label:"API key" doc:"A key in a header or in the query: one of the two."`
	OAuth2 OAuth2         `yaml:"oauth2" json:"oauth2,omitzero" label:"OAuth 2" doc:"Gets tokens by client credentials (RFC 6749, section 4.4). A token is kept until it expires or the target refuses it."`
}

// APIKey is a key in a header or in the query: exactly one of the two.
type APIKey struct {
	Header string         `yaml:"header" json:"header,omitempty" example:"X-Api-Key" doc:"This header carries the key."`
	Query  string         `yaml:"query" json:"query,omitempty" example:"api_key" doc:"This parameter of the query carries the key. Proxies and targets write queries into their logs, so prefer a header."`
	Value  connectors.Ref `yaml:"value" json:"value,omitempty" required:"true" reference:"true" example:"${env:CHANNEL_CALENDAR_KEY}" doc:"The key, as a reference to a secret."` // required, a reference
}

// OAuth2 gets tokens by client credentials (RFC 6749, section 4.4). A token is
// kept until it expires or the target refuses it.
type OAuth2 struct {
	TokenURL     connectors.Ref `yaml:"token_url" json:"token_url,omitempty" required:"true" format:"url" example:"https://login.example/token" doc:"The token endpoint. It must be in a network that the channel may use, like the target."` // required
	ClientID     string         `yaml:"client_id" json:"client_id,omitempty" required:"true" example:"extsync" doc:"The name of the client at the token endpoint."`                                                                           // required
	ClientSecret connectors.Ref `yaml:"client_secret" json:"client_secret,omitempty" required:"true" reference:"true" example:"${env:CHANNEL_CALENDAR_CLIENT_SECRET}" doc:"The client's secret, as a reference to a secret."`                 // required, a reference
	Scopes       []string       `yaml:"scopes" json:"scopes,omitempty" example:"[appointments.write]" doc:"The rights to ask for. The target answers 403 to a token that has too few, which blocks the channel."`
	// Params are sent to the token endpoint besides, such as "audience".
	Params map[string]connectors.Ref `yaml:"params" json:"params,omitempty" example:"{audience: appointments}" advanced:"true" doc:"Further parameters of the request for a token, such as an audience."`
	// Style is "header" (basic authentication) or "body". Default: header.
	Style string `yaml:"style" json:"style,omitempty" default:"header" enum:"header,body" advanced:"true" doc:"header sends the client's name and secret by basic authentication, body among the parameters. Some endpoints take only one of them."`
}

// Signing holds the secrets of Standard Webhooks: "whsec_..." (HMAC-SHA256) or
// "whsk_..." (an ed25519 private key). Each gives one signature, so that a secret
// can be replaced without a gap. Each must be a reference. Default: unsigned.
type Signing struct {
	Secrets []connectors.Ref `yaml:"secrets" json:"secrets,omitempty" reference:"true" example:"['${env:CHANNEL_CALENDAR_SIGNING}']" doc:"The secrets of Standard Webhooks, as references: whsec_ and base64 (HMAC-SHA256), or whsk_ and base64 (an ed25519 private key). Each gives one signature, so that a secret can be replaced without a gap."`
}

// Proxy is an HTTP or SOCKS5 proxy. It resolves the target's name, so that
// its own rules decide which addresses can be reached through it.
type Proxy struct {
	URL      string         `yaml:"url" json:"url,omitempty" required:"true" format:"url" example:"http://proxy.example:3128" doc:"The address of an HTTP or SOCKS5 proxy: http:// or socks5://host:port. The proxy resolves the target's name, so its own rules decide which addresses can be reached."` // http:// or socks5://host:port
	Username string         `yaml:"username" json:"username,omitempty" example:"extsync" doc:"The user at the proxy; with password."`
	Password connectors.Ref `yaml:"password" json:"password,omitempty" reference:"true" example:"${env:CHANNEL_PROXY_PASSWORD}" doc:"The user's password at the proxy, as a reference to a secret; with username."` // a reference
}

// Values of Config.Body and other fields.
const (
	bodyPayload = "payload"
	bodyEvent   = "cloudevent"
	// Of OnForeignChange.
	foreignConflict  = "conflict"
	foreignOverwrite = "overwrite"
	styleHeader      = "header"
	styleBody        = "body"
)

// Decode reads a configuration strictly, fills in the defaults and validates it.
// Its error wraps connectors.ErrConfig and names every bad field.
func Decode(data []byte) (Config, error) {
	var c Config
	var p connectors.Problems
	p.Decode(data, &c)
	p.AddError("", c.Validate())
	if p.Err() == nil {
		return c.withDefaults(), nil
	}
	p.AddError("answers", replaced(data))
	return Config{}, p.Err()
}

func (c Config) withDefaults() Config {
	schema.Fill(&c)
	asUpsert := Shape{Method: c.Method, URL: c.URL}
	c.Create = c.Create.or(asUpsert)
	update := *c.Create
	if c.Update != nil {
		update = asUpsert
	}
	c.Update = c.Update.or(update)
	remove := asUpsert
	if c.Delete != nil {
		remove.Method = http.MethodDelete
	}
	c.Delete = c.Delete.or(remove)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
