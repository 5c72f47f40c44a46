package extsync

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrConnect says that no connection could be made. The message names the
// address and what to check, and never holds a credential.
var ErrConnect = errors.New("cannot connect to the broker")

// ErrAway is an ErrConnect that time may heal: nothing answered at the address as
// a broker does.
var ErrAway error = awayError{}

// ErrTLS is an ErrConnect because of a certificate, or because only one side wants TLS.
var ErrTLS error = tlsError{}

// ErrCredentials is an ErrConnect because the broker does not take the credentials.
var ErrCredentials error = credentialsError{}

type (
	awayError        struct{}
	tlsError         struct{}
	credentialsError struct{}
)

func (awayError) Error() string        { return ErrConnect.Error() }
func (awayError) Unwrap() error        { return ErrConnect }
func (tlsError) Error() string         { return ErrConnect.Error() }
func (tlsError) Unwrap() error         { return ErrConnect }
func (credentialsError) Error() string { return ErrConnect.Error() }
func (credentialsError) Unwrap() error { return ErrConnect }

// ErrURL says that an address of the broker cannot be one. The message shows no part
// of it that could be a credential.
var ErrURL = errors.New("invalid address of the broker")

// A urlError is an ErrURL that says itself what is wrong.
type urlError string

func (e urlError) Error() string { return string(e) }
func (urlError) Unwrap() error   { return ErrURL }

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

// Dial makes a connection with the options that correctness needs. It makes one try
// at each of the urls, which are as for Servers, and returns the connection, or one
// error that wraps ErrConnect and tells what to check. The try ends with ctx. The
// connection does not depend on ctx; once made, it is kept for ever: whenever it is
// lost the client tries to get it back until Close. While it is lost every publish
// fails at once with nats.ErrReconnectBufExceeded rather than be sent some time
// later.
//
// extra is applied last. With nats.InProcessServer among it, no URL is needed. With
// nats.RetryOnFailedConnect the connection may be one that is still to be made.
// Connect is what most programs want.
func Dial(ctx context.Context, urls string, extra ...nats.Option) (*nats.Conn, error) {
	o := nats.GetDefaultOptions()
	for _, list := range [][]nats.Option{settings(), extra} {
		for _, opt := range list {
			if err := opt(&o); errors.Is(err, ErrConnect) {
				return nil, err
			} else if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrConnect, err)
			}
		}
	}
	address := "the embedded broker"
	if o.InProcessServer == nil {
		servers, err := Servers(urls)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConnect, err)
		}
		o.Servers, address = servers, addresses(servers)
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
	return nc, nil
}

func settings() []nats.Option {
	return []nats.Option{
		nats.Name("extsync"),
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
}

// Servers returns the addresses of a list that is separated by commas, each with its
// scheme: nats, which is meant where there is none, tls, ws or wss. Its error wraps
// ErrURL and names every address that cannot be one by its number.
func Servers(urls string) ([]string, error) {
	var out, wrong []string
	for text := range strings.SplitSeq(urls, ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		out = append(out, text)
		// The parser's error would repeat the text, password and all.
		if u, err := url.Parse(text); err != nil || u.Hostname() == "" || !validScheme(u.Scheme) {
			wrong = append(wrong, fmt.Sprintf("address %d is not like nats://host:4222 (nats, tls, ws and wss are known; "+
				"write special characters of a password as %%XX)", len(out)))
		}
	}
	if len(out) == 0 {
		return nil, urlError("it is missing; give the address of a NATS server, such as nats://127.0.0.1:4222")
	}
	if len(wrong) > 0 {
		return nil, urlError(strings.Join(wrong, "; "))
	}
	return out, nil
}

func validScheme(s string) bool {
	switch s {
	case "nats", "tls", "ws", "wss":
		return true
	default:
		return false
	}
}

// addresses returns servers without anything that could be a credential: a user
// without password is a token.
func addresses(servers []string) string {
	var out []string
	for _, text := range servers {
		if u, err := url.Parse(text); err == nil { // Servers has looked
			out = append(out, u.Scheme+"://"+u.Host)
		}
	}
	return strings.Join(out, ", ")
}

// explain turns the client's error into one that says what to do.
func explain(ctx context.Context, address string, err error) error {
	var unverified *tls.CertificateVerificationError
	var garbled tls.RecordHeaderError
	kind := ErrConnect
	hint := "check the address and what runs there"
	switch {
	case ctx.Err() != nil:
		// What was cut off by ctx failed for no other reason worth telling.
		err = context.Cause(ctx)
		hint = "there was no answer in time; check that the broker runs and that a firewall lets this machine through"
	case errors.As(err, &unverified):
		kind = ErrTLS
		hint = "its certificate is not trusted; check tls.ca_file and that the certificate is made out to this address"
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired),
		errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		kind = ErrCredentials
		hint = "it refused our credentials; check creds_file, nkey_seed_file or the user in the URL"
	case errors.Is(err, nats.ErrTLS), errors.Is(err, nats.ErrSecureConnRequired),
		errors.Is(err, nats.ErrSecureConnWanted), errors.As(err, &garbled), isTLSAlert(err):
		kind = ErrTLS
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
