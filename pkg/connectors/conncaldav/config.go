package conncaldav

import (
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// The components that an object may be.
const (
	event = "VEVENT"
	task  = "VTODO"
)

// Config is the configuration of a caldav connector.
type Config struct {
	// URL is the calendar's. Required.
	URL string `yaml:"url" required:"true" format:"url" max:"1024" example:"https://calendar.example/dav/clinic/appointments/" group:"Target" doc:"The address of the calendar itself, which must exist: http:// or https://, a host and a path. Where it shows something else than a calendar the channel is blocked. Two channels must not have one calendar unless their keys differ."`
	// Component is what each object is: VEVENT (the default) or VTODO.
	Component string `yaml:"component" default:"VEVENT" enum:"VEVENT,VTODO" group:"Objects" doc:"Each key is an event (VEVENT) or a task (VTODO). A payload that is the other one is a dead letter; so is every payload if the calendar takes no such objects."`
	// UIDDomain ends each UID. Defaults to the channel's name.
	UIDDomain string `yaml:"uid_domain" max:"64" example:"appointments.clinic.example" group:"Objects" doc:"Ends each UID, which is the key's name, @ and this. Many servers want a UID to be in one calendar of a user only, so two channels need two. A calendar refuses another UID for an object that it has, so do not change it later. Defaults to the channel's name."`
	// Adopt takes objects over that have no version, or a bad one.
	Adopt bool `yaml:"adopt" group:"Objects" doc:"Writes over an object that has the name of a key and no version, such as one whose version a client has taken away. Without it that is a conflict. Any version replaces such an object, also one that comes late."`
	// Auth is how the connector proves who it is. At most one way.
	Auth Auth `yaml:"auth" group:"Connection" doc:"Proves to the server that a request is ours, in at most one way."`
	// TLS secures the connections to an https URL.
	TLS connkit.TLS `yaml:"tls" example:"{cert: '${file:/run/extsync/secrets/client.pem}', key: '${file:/run/extsync/secrets/client.key}'}" group:"Connection" doc:"Secures the connections to an https URL."`
	// AllowCIDRs are the networks, out of those that are not public, in which the server may
	// be. The worker's operator must allow them. Default: none.
	AllowCIDRs []string `yaml:"allow_cidrs" example:"[10.20.0.0/16]" group:"Connection" doc:"The server may be in these networks, besides public ones. The worker's operator must allow them, too. Without it only public addresses are connected to."`
}

// Auth is one way to authenticate. The zero Auth is none.
type Auth struct {
	Basic httpkit.Basic `yaml:"basic" doc:"A user name and password (HTTP basic authentication). Large providers want a password of an app's own here."`
	// Bearer is a token. It must be a reference.
	Bearer connectors.Ref `yaml:"bearer" reference:"true" example:"${env:CHANNEL_CALENDAR_TOKEN}" doc:"A token for the header Authorization, as a reference to a secret. A server that refuses it blocks the channel; keep one that expires in a file that is replaced before."`
}

var errBearer = errors.New("auth: what it comes to has characters that a header cannot carry, or spaces around it")

var domainPattern = regexp.MustCompile(`^[A-Za-z0-9.-]*$`)

// decode reads a configuration strictly, fills in the defaults and validates it.
func decode(data []byte) (Config, error) {
	var c Config
	var p connectors.Problems
	p.Decode(data, &c)
	p.Check(&c)
	c.check(&p)
	return c, p.Err()
}

func (c Config) check(p *connectors.Problems) {
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	}
	if u, err := parseURL(c.URL); c.URL != "" && err != nil {
		p.Add("url", "%v", err)
	} else if c.URL != "" {
		var denied *connectors.AddressError
		if err := connectors.CheckHost(u.Hostname(), c.AllowCIDRs); errors.As(err, &denied) {
			p.Add("url", "%v", err)
		}
		if u.Scheme == "http" && c.TLS != (connkit.TLS{}) {
			p.Add("tls", "the URL begins with http://, so nothing is secured")
		}
	}
	if !domainPattern.MatchString(c.UIDDomain) {
		p.Add("uid_domain", "it has other characters than letters, digits, '.' and '-'")
	}
	if c.Auth.Bearer != "" && c.Auth.Basic != (httpkit.Basic{}) {
		p.Add("auth", "only one of basic and bearer can be used")
	}
	c.Auth.Basic.Check(p, "auth.basic")
	c.TLS.Check(p)
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("it is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("it must begin with http:// or https://")
	case u.User != nil:
		return nil, errors.New("it must not hold a user name or password; use auth")
	case u.Hostname() == "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("it must be a host, perhaps with a port, and a path, and nothing else")
	}
	if !strings.HasSuffix(u.Path, "/") {
		u = u.JoinPath("/")
	}
	return u, nil
}

// header returns the value of the header Authorization, "" for none.
func (a Auth) header(s *connkit.Secrets, env connectors.Env) string {
	switch {
	case a.Bearer != "":
		return "Bearer " + s.Text("auth.bearer", a.Bearer)
	case a.Basic != httpkit.Basic{}:
		return a.Basic.Header(s.Text("auth.basic.password", a.Basic.Password), env.Scrubber())
	}
	return ""
}

// nameOf returns the name of a key's object.
func (c *connector) nameOf(key string) string { return connkit.KeyName(key, false) + ".ics" }

// uidOf returns the UID of a key's object. It needs no escaping in iCalendar, and no two
// that differ in case only are of different keys.
func (c *connector) uidOf(key string) string { return connkit.KeyName(key, false) + "@" + c.domain }
