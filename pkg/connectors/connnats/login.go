package connnats

import (
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

var (
	// errNKey says that the seed of the configuration is none.
	errNKey = errors.New("nkey: it is not the seed of an nkey")
	// errCredentials says that the credentials of the configuration are none.
	errCredentials = errors.New("credentials: they are not a user's JWT and seed")
)

// login returns who the connector says it is.
func (c *Config) login(s *connkit.Secrets) nats.Option {
	switch {
	case c.Credentials != "":
		return credentials(s.Text("credentials", c.Credentials))
	case c.NKey != "":
		return nkey(s.Text("nkey", c.NKey))
	case c.Token != "":
		return nats.Token(s.Text("token", c.Token))
	case c.Username != "":
		return nats.UserInfo(c.Username, s.Text("password", c.Password))
	default:
		return func(*nats.Options) error { return nil }
	}
}

// credentials returns the login by what a file of credentials holds. Errors do not show it.
func credentials(file string) nats.Option {
	data := []byte(file + "\n") // which is no part of a secret, and ends the file's last line
	return func(o *nats.Options) error {
		if _, err := nkeys.ParseDecoratedNKey(data); err != nil {
			return errCredentials
		}
		return nats.UserCredentialBytes(data)(o)
	}
}

// nkey returns the login by a seed. Errors do not show it.
func nkey(seed string) nats.Option {
	return func(o *nats.Options) error {
		pair, err := nkeys.FromSeed([]byte(seed))
		if err != nil {
			return errNKey
		}
		public, err := pair.PublicKey()
		if err != nil {
			return errNKey
		}
		return nats.Nkey(public, pair.Sign)(o)
	}
}
