package broker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// ErrConnect says that no connection could be made. The message names the
// address and what to check, and never holds a credential.
var ErrConnect = errors.New("cannot connect to the broker")

// ErrAway is an ErrConnect that time may heal: nothing answered at the address as
// a broker does.
var ErrAway error = awayError{}

type awayError struct{}

func (awayError) Error() string { return ErrConnect.Error() }
func (awayError) Unwrap() error { return ErrConnect }

const (
	// connectTimeout bounds each try to reach one server, first and later.
	connectTimeout = 5 * time.Second
	// pingInterval is how often an idle connection is checked. The client's own
	// two minutes would leave a dead one unnoticed for longer than a lease lives.
	pingInterval = 10 * time.Second
	// reconnectWait is the pause between two tries to reach the same server
	// again. With the client's two seconds a worker could lose its leases in a
	// broker restart that takes one.
	reconnectWait   = 500 * time.Millisecond
	reconnectJitter = 250 * time.Millisecond
)

// Connect makes one try at each address and returns the connection, or one error
// that wraps ErrConnect (or connectors.ErrConfig) and tells what to check. The
// try ends with ctx. The connection does not depend on ctx; once made, it is
// kept for ever: whenever it is lost the client tries to get it back until Close.
// With nats.RetryOnFailedConnect among extra, it may be one that is still to be made.
// While it is lost every publish fails at once with nats.ErrReconnectBufExceeded
// rather than be sent some time later.
//
// extra is applied after the design's own options. With nats.InProcessServer
// among it, no URL is needed.
func Connect(ctx context.Context, c Config, logger zerolog.Logger, extra ...nats.Option) (*nats.Conn, error) {
	o, err := options(c, logger, extra)
	if err != nil {
		return nil, err
	}
	address := c.address()
	if o.InProcessServer != nil {
		address = "the embedded broker"
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w at %s: %w", ErrConnect, address, err)
	}
	first := &firstDial{ctx: ctx}
	if o.CustomDialer == nil {
		o.CustomDialer = first
		o.SkipHostLookup = true // the dialer resolves names, under ctx
	}
	nc, err := o.Connect()
	first.end()
	if err != nil {
		return nil, explain(ctx, address, first.reason(err))
	}
	if !nc.IsConnected() { // nats.RetryOnFailedConnect: the handlers tell when it is
		return nc, nil
	}
	logger.Debug().Str("address", nc.ConnectedAddr()).Str("server", nc.ConnectedServerName()).Msg("connected to the broker")
	return nc, nil
}

// options puts the client's options together. It reads the files, so that a
// missing one is told at once.
func options(c Config, logger zerolog.Logger, extra []nats.Option) (*nats.Options, error) {
	inProcess, err := asksForInProcess(extra)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConnect, err)
	}
	if err := c.validate(inProcess); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	o := nats.GetDefaultOptions()
	if !inProcess {
		o.Servers = splitURLs(c.URL)
	}
	for _, opt := range slices.Concat(settings(c), handlers(logger), extra) {
		if err := opt(&o); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConnect, err)
		}
	}
	return &o, nil
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
	opts := []nats.Option{
		nats.Name(cmp.Or(c.Name, defaultName)),
		nats.Timeout(connectTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		// A publish that waits in a buffer is stored after its caller gave up.
		nats.ReconnectBufSize(-1),
		// The client would end for good after two refusals, and a worker with
		// it, while an operator is still replacing a credential.
		nats.IgnoreAuthErrorAbort(),
		nats.PermissionErrOnSubscribe(true),
	}
	if c.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	if c.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(c.CredsFile))
	}
	if c.NKeySeedFile != "" {
		opts = append(opts, nkey(c.NKeySeedFile))
	}
	if c.TLS.CAFile != "" {
		opts = append(opts, nats.RootCAs(c.TLS.CAFile))
	}
	if c.TLS.CertFile != "" && c.TLS.KeyFile != "" {
		opts = append(opts, nats.ClientCert(c.TLS.CertFile, c.TLS.KeyFile))
	}
	return opts
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

// explain turns the client's error into one that says what to do.
func explain(ctx context.Context, address string, err error) error {
	var unverified *tls.CertificateVerificationError
	kind := ErrConnect
	hint := "check the address and what runs there"
	switch {
	case ctx.Err() != nil:
		// What was cut off by ctx failed for no other reason worth telling.
		err = context.Cause(ctx)
		hint = "there was no answer in time; check that the broker runs and that a firewall lets this machine through"
	case errors.As(err, &unverified):
		hint = "its certificate is not trusted; check tls.ca_file and that the certificate is made out to this address"
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired),
		errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		hint = "it refused our credentials; check creds_file, nkey_seed_file or the user in the URL"
	case errors.Is(err, nats.ErrTLS), errors.Is(err, nats.ErrSecureConnRequired),
		errors.Is(err, nats.ErrSecureConnWanted), isTLSAlert(err):
		hint = "check the tls settings on both sides"
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, errDial):
		kind = ErrAway
		hint = "check that the broker runs and that the address is right"
	case hungUp(err): // as a broker does that is being stopped
		kind = ErrAway
	}
	return fmt.Errorf("%w at %s: %w (%s)", kind, address, err, hint)
}

// hungUp reports whether the other side ended the connection, or said nothing.
func hungUp(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, nats.ErrConnectionClosed)
}

// isTLSAlert reports whether the other side ended the handshake, which it does
// when it misses a client certificate. crypto/tls has no type for that, only the
// name of the operation.
func isTLSAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
