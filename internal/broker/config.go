// Package broker makes the client connections to NATS. It is the one place that
// does, so that every process behaves alike when the broker goes away, and none
// shows a credential.
package broker

import (
	"net/url"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Config says where the broker is and who we are there. It holds no secrets but
// what URL may carry. Files with credentials and certificates are read again for
// every new connection; the nkey of a seed file is that of the start.
type Config struct {
	// URL of the broker, several separated by commas: nats://, tls://, ws:// or
	// wss://. Required, unless the connection is made in process.
	URL string `yaml:"url"`
	// CredsFile holds a user JWT and its seed. At most one of CredsFile and
	// NKeySeedFile may be given. Defaults to none.
	CredsFile string `yaml:"creds_file"`
	// NKeySeedFile holds the seed of a user's nkey. Defaults to none.
	NKeySeedFile string `yaml:"nkey_seed_file"`
	// TLS is used when any of it is given, when the URL says tls:// or wss://,
	// and when the broker asks for it.
	TLS TLS `yaml:"tls"`
	// Name is what the broker shows for this connection. Defaults to "extsync".
	Name string `yaml:"name"`
	// InboxPrefix is the first part of the subjects that replies come back on.
	// It must start with _INBOX: workers send acks to no other inboxes. Defaults
	// to _INBOX.
	InboxPrefix string `yaml:"inbox_prefix"`
}

// TLS names the files for an encrypted connection, in PEM form.
type TLS struct {
	// CAFile holds the authorities that may have signed the broker's
	// certificate. Defaults to those of the system.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the client's certificate and key, for a broker
	// that asks for them. Both or neither.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

const (
	defaultName        = "extsync"
	defaultInboxPrefix = "_INBOX"
)

// Validate checks everything but whether the files are there. Its error wraps
// connectors.ErrConfig, names every bad field and shows no part of a URL that
// could be a credential.
func (c Config) Validate() error { return c.validate(false) }

func (c Config) validate(inProcess bool) error {
	var p connectors.Problems
	if !inProcess {
		c.validateURL(&p)
	}
	if c.CredsFile != "" && c.NKeySeedFile != "" {
		p.Add("nkey_seed_file", "creds_file is given too; give one of them")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		p.Add("tls", "cert_file and key_file belong together; one of them is missing")
	}
	if c.InboxPrefix != "" && !validInbox(c.InboxPrefix) {
		p.Add("inbox_prefix", "%q must start with %s and be a subject without wildcards", c.InboxPrefix, defaultInboxPrefix)
	}
	return p.Err()
}

func (c Config) validateURL(p *connectors.Problems) {
	urls := splitURLs(c.URL)
	if len(urls) == 0 {
		p.Add("url", "it is missing; give the address of a NATS server, such as nats://127.0.0.1:4222")
	}
	for i, text := range urls {
		// The parser's error would repeat the text, password and all.
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" || !validScheme(u.Scheme) {
			p.Add("url", "number %d is not like nats://host:4222 (nats, tls, ws and wss are known; "+
				"write special characters of a password as %%XX)", i+1)
		}
	}
}

func validScheme(s string) bool {
	switch s {
	case "nats", "tls", "ws", "wss":
		return true
	default:
		return false
	}
}

func validInbox(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || strings.ContainsAny(part, "*> \t\r\n") {
			return false
		}
	}
	return strings.HasPrefix(s, defaultInboxPrefix)
}

// splitURLs returns the URLs of a comma-separated list, each with a scheme.
func splitURLs(list string) []string {
	var out []string
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		out = append(out, text)
	}
	return out
}

// address returns the URLs without anything that could be a credential: a user
// without password is a token.
func (c Config) address() string {
	urls := splitURLs(c.URL)
	for i, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			urls[i] = "(unreadable URL)"
			continue
		}
		urls[i] = u.Scheme + "://" + u.Host
	}
	return strings.Join(urls, ", ")
}
