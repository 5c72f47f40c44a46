// Package broker makes the client connections to NATS. It is the one place that
// does, so that every process behaves alike when the broker goes away, and none
// shows a credential.
package broker

import (
	"net/url"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/extsync"
)

// Config says where the broker is and who we are there. It holds no secrets but
// what URL may carry. Files with credentials and certificates are read again for
// every new connection; the nkey of a seed file is that of the start.
type Config struct {
	// URL of the broker, several separated by commas: nats://, tls://, ws:// or
	// wss://. Required, unless the connection is made in process.
	URL string `yaml:"url,omitempty"`
	// CredsFile holds a user JWT and its seed. At most one of CredsFile and
	// NKeySeedFile may be given. Defaults to none.
	CredsFile string `yaml:"creds_file,omitempty"`
	// NKeySeedFile holds the seed of a user's nkey. Defaults to none.
	NKeySeedFile string `yaml:"nkey_seed_file,omitempty"`
	// TLS is used when any of it is given, when the URL says tls:// or wss://,
	// and when the broker asks for it.
	TLS TLS `yaml:"tls,omitempty"`
	// Name is what the broker shows for this connection. Defaults to "extsync".
	Name string `yaml:"name,omitempty"`
	// InboxPrefix is the first part of the subjects that replies come back on.
	// It must start with _INBOX: workers send acks to no other inboxes. Defaults
	// to _INBOX.
	InboxPrefix string `yaml:"inbox_prefix,omitempty"`
}

// TLS names the files for an encrypted connection, in PEM form.
type TLS struct {
	// CAFile holds the authorities that may have signed the broker's
	// certificate. Defaults to those of the system.
	CAFile string `yaml:"ca_file,omitempty"`
	// CertFile and KeyFile are the client's certificate and key, for a broker
	// that asks for them. Both or neither.
	CertFile string `yaml:"cert_file,omitempty"`
	KeyFile  string `yaml:"key_file,omitempty"`
}

const defaultInboxPrefix = "_INBOX"

// Validate checks everything but whether the files are there. Its error wraps
// connectors.ErrConfig, names every bad field and shows no part of a URL that
// could be a credential.
func (c Config) Validate() error { return c.validate(false) }

func (c Config) validate(inProcess bool) error {
	var p connectors.Problems
	if !inProcess {
		if _, err := extsync.Servers(c.URL); err != nil {
			p.Add("url", "%s", err)
		}
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

func validInbox(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || strings.ContainsAny(part, "*> \t\r\n") {
			return false
		}
	}
	return strings.HasPrefix(s, defaultInboxPrefix)
}

// Address returns the addresses without anything that could be a credential: a user without
// password is a token. "" if they are none.
func (c Config) Address() string {
	servers, _ := extsync.Servers(c.URL) // Validate says what is wrong with them
	for i, text := range servers {
		u, err := url.Parse(text)
		if err != nil {
			return ""
		}
		servers[i] = u.Scheme + "://" + u.Host
	}
	return strings.Join(servers, ", ")
}
