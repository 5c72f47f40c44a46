package broker

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/pkg/extsync"
)

// Connect makes a connection as extsync.Dial does, with the credentials, certificates
// and names of a configuration, and logs what happens to it. Its error wraps
// extsync.ErrConnect, or connectors.ErrConfig.
//
// extra is applied after the configuration's own options. With nats.InProcessServer
// among it, no URL is needed.
func Connect(ctx context.Context, c Config, logger zerolog.Logger, extra ...nats.Option) (*nats.Conn, error) {
	inProcess, err := asksForInProcess(extra)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", extsync.ErrConnect, err)
	}
	if err := c.validate(inProcess); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	nc, err := extsync.Dial(ctx, c.URL, slices.Concat(settings(c), handlers(logger), extra)...)
	if err != nil {
		return nil, err
	}
	if !nc.IsConnected() { // nats.RetryOnFailedConnect: the handlers tell when it is
		return nc, nil
	}
	logger.Debug().Str("address", nc.ConnectedAddr()).Str("server", nc.ConnectedServerName()).Msg("connected to the broker")
	return nc, nil
}

func asksForInProcess(extra []nats.Option) (bool, error) {
	var o nats.Options
	for _, opt := range extra {
		if err := opt(&o); err != nil {
			return false, err
		}
	}
	return o.InProcessServer != nil, nil
}

func settings(c Config) []nats.Option {
	var opts []nats.Option
	if c.Name != "" {
		opts = append(opts, nats.Name(c.Name))
	}
	if c.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	if c.CredsFile != "" {
		opts = append(opts, marked(extsync.ErrCredentials, nats.UserCredentials(c.CredsFile)))
	}
	if c.NKeySeedFile != "" {
		opts = append(opts, marked(extsync.ErrCredentials, nkey(c.NKeySeedFile)))
	}
	if c.TLS.CAFile != "" {
		opts = append(opts, marked(extsync.ErrTLS, nats.RootCAs(c.TLS.CAFile)))
	}
	if c.TLS.CertFile != "" && c.TLS.KeyFile != "" {
		opts = append(opts, marked(extsync.ErrTLS, nats.ClientCert(c.TLS.CertFile, c.TLS.KeyFile)))
	}
	return opts
}

// marked is an option whose error says of which kind it is.
func marked(kind error, opt nats.Option) nats.Option {
	return func(o *nats.Options) error {
		if err := opt(o); err != nil {
			return fmt.Errorf("%w: %w", kind, err)
		}
		return nil
	}
}

func nkey(file string) nats.Option {
	return func(o *nats.Options) error {
		opt, err := nats.NkeyOptionFromSeed(file)
		if err != nil {
			return fmt.Errorf("nkey seed file %s: %w", file, err)
		}
		return opt(o)
	}
}
