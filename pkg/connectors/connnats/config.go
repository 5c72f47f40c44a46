package connnats

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"unicode"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connproto"
)

// The modes.
const (
	bucketMode  = "bucket"
	streamMode  = "stream"
	serviceMode = "service"
)

// Config is the connector.config of a channel.
type Config struct {
	// Servers are those of one system; the first that is there is used.
	Servers []string `yaml:"servers" json:"servers" required:"true" max:"20" example:"['tls://nats.example:4222']" group:"Server" doc:"The servers, as nats://host:port, or tls:// for TLS. One that is there is used; all must be of one system. A user or a password in them is refused."`
	// Credentials and the fields below say who the connector is; one of them at most.
	Credentials connectors.Ref `yaml:"credentials" json:"credentials,omitempty" reference:"true" example:"${file:/run/extsync/secrets/partner.creds}" group:"Server" doc:"What a file of credentials (.creds) holds, the user's JWT and seed, as a reference to a secret. It also says which account the bucket, stream or service is in."`
	NKey        connectors.Ref `yaml:"nkey" json:"nkey,omitempty" label:"NKey" reference:"true" example:"${file:/run/extsync/secrets/partner.nk}" group:"Server" doc:"The seed of an nkey, as a reference to a secret, in place of credentials."`
	Token       connectors.Ref `yaml:"token" json:"token,omitempty" reference:"true" example:"${env:CHANNEL_NATS_TOKEN}" group:"Server" doc:"A token, as a reference to a secret, in place of credentials."`
	Username    string         `yaml:"username" json:"username,omitempty" max:"256" example:"extsync" group:"Server" doc:"The name of the user that password is of, in place of credentials."`
	Password    connectors.Ref `yaml:"password" json:"password,omitempty" reference:"true" example:"${env:CHANNEL_NATS_PASSWORD}" group:"Server" doc:"The password of username, as a reference to a secret. A wrong one blocks the channel."`

	// Mode is what is written to.
	Mode string `yaml:"mode" json:"mode" required:"true" enum:"bucket,stream,service" group:"Target" doc:"bucket keeps each key in a bucket of keys and values, stream as a subject of a stream, both with a guard that the server keeps. service asks a service with the documents of plugins."`
	// Bucket is the bucket, and KeyPrefix what its keys begin with.
	Bucket    string `yaml:"bucket" json:"bucket,omitempty" required:"true" when:"mode=bucket" max:"255" example:"policies" group:"Target" doc:"The name of the bucket, which must exist. One that forgets keys after a time forgets their versions, too."`
	KeyPrefix string `yaml:"key_prefix" json:"key_prefix,omitempty" when:"mode=bucket" max:"256" example:"policies." group:"Target" doc:"Begins each key of the bucket. Two channels must not have one prefix of a bucket: each would take the other's keys for its own."`
	// Stream is the stream, and Subject what its subjects begin with, or the service's.
	Stream  string `yaml:"stream" json:"stream,omitempty" required:"true" when:"mode=stream" max:"255" example:"ENTITIES" group:"Target" doc:"The name of the stream, which must exist and keep the last message of each subject."`
	Subject string `yaml:"subject" json:"subject,omitempty" required:"true" when:"mode=stream|service" max:"256" example:"entities.policies" group:"Target" doc:"In the mode stream the subject of a key is this, a dot and the encoded key; the stream must have it. In the mode service requests go to this subject."`
	// Domain is that of JetStream.
	Domain string `yaml:"domain" json:"domain,omitempty" when:"mode=bucket|stream" max:"255" example:"hub" advanced:"true" group:"Target" doc:"The domain of JetStream that the bucket or stream is in, where it is not the server's own."`
	// Adopt takes over what is there and has no version.
	Adopt bool `yaml:"adopt" json:"adopt,omitempty" when:"mode=bucket|stream" group:"Target" doc:"Takes keys over that were there before, and have no version, at their first write. Without it they are conflicts, since the platform did not write them."`
	// Capabilities are what the channel uses of what the service can do.
	Capabilities connproto.Capabilities `yaml:"capabilities" json:"capabilities,omitzero" when:"mode=service" group:"Capabilities" doc:"The channel uses these of the service's capabilities; a service that can do less is refused."`

	// InboxPrefix is where answers come.
	InboxPrefix string `yaml:"inbox_prefix" json:"inbox_prefix,omitempty" max:"256" example:"_INBOX_extsync" advanced:"true" group:"Connection" doc:"Answers come to subjects below this one, for accounts that let the user listen nowhere else. Without it they come below _INBOX."`
	// TLS secures the connections.
	TLS connkit.TLS `yaml:"tls" json:"tls,omitzero" example:"{cert: '${file:/run/extsync/secrets/client.pem}', key: '${file:/run/extsync/secrets/client.key}'}" group:"Connection" doc:"How servers are checked, and what is shown to them. With it, there is no connection without TLS."`
	// AllowCIDRs are the networks, out of those that are not public, in which the servers
	// may be.
	AllowCIDRs []string `yaml:"allow_cidrs" json:"allow_cidrs,omitempty" example:"[10.20.0.0/16]" group:"Connection" doc:"The servers may be in these networks, besides public ones. The worker's operator must allow them, too. Without it only public addresses are connected to."`
	// MaxBatch is the most attempts in one request to a service.
	MaxBatch int `yaml:"max_batch" json:"max_batch,omitempty" default:"100" min:"1" max:"1000" when:"mode=service" advanced:"true" group:"Connection" doc:"One request to a service has up to so many attempts, and fewer where they are more than a message may hold."`
}

// decode reads a configuration strictly, fills the defaults in and validates it.
func decode(data []byte) (Config, error) {
	var c Config
	var p connectors.Problems
	p.Decode(data, &c)
	c.check(&p)
	return c, p.Err()
}

func (c *Config) check(p *connectors.Problems) {
	p.Check(c)
	if c.Servers != nil && len(c.Servers) == 0 {
		p.Add("servers", "it is empty")
	}
	for _, server := range c.Servers {
		if _, err := parseServer(server); err != nil {
			p.Add("servers", "%v", err)
		}
	}
	ways := 0
	for _, given := range []bool{c.Credentials != "", c.NKey != "", c.Token != "", c.Username != ""} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		p.Add("credentials", "give one of credentials, nkey, token and username")
	}
	if (c.Username == "") != (c.Password == "") {
		p.Add("password", "username and password go together")
	}
	for path, name := range map[string]string{"bucket": c.Bucket, "stream": c.Stream, "domain": c.Domain} {
		if strings.ContainsAny(name, ".*> /\\") || strings.ContainsFunc(name, unicode.IsControl) {
			p.Add(path, "%q cannot be its name", name)
		}
	}
	for path, subject := range map[string]string{"subject": c.Subject, "inbox_prefix": c.InboxPrefix, "key_prefix": strings.TrimSuffix(c.KeyPrefix, ".")} {
		if subject != "" && !isSubject(subject) {
			p.Add(path, "%q is no subject: it has an empty part, a space, a * or a >", subject)
		}
	}
	if c.Mode == serviceMode {
		c.Capabilities.Check(p)
	}
	c.TLS.Check(p)
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	}
}

// isSubject reports whether a text is a subject without wildcards.
func isSubject(text string) bool {
	for token := range strings.SplitSeq(text, ".") {
		if token == "" || strings.ContainsAny(token, "*> ") || strings.ContainsFunc(token, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
			return false
		}
	}
	return true
}

// parseServer returns a server's URL with its port.
func parseServer(text string) (*url.URL, error) {
	if connectors.Ref(text).HasReference() {
		return nil, errors.New("a server must not hold a secret")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("a server is not a URL")
	case u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "":
		return nil, errors.New("a server must be nats://host:port or tls://host:port")
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("a server must not hold a user, a password or a path")
	}
	port := u.Port()
	if port == "" {
		port = "4222"
	}
	u.Host, u.Path = net.JoinHostPort(u.Hostname(), port), ""
	return u, nil
}
