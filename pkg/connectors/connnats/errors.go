package connnats

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Why an error has its class.
const (
	whyServer = "the server's trouble passes"
	whyLess   = "the server wants fewer requests or connections"
	whyRoom   = "not yet: messages may go, or somebody gives it more room"
	whyLogin  = "somebody must act: the login, or what it may do"
	whySchema = "somebody must act: the channel's configuration, or the bucket or stream"
	whyNever  = "never: the same content fails again"
)

// A meaning is what an error stands for.
type meaning struct {
	api   jetstream.ErrorCode // of JetStream; 0: it is of the client
	err   error
	code  string
	class connectors.Class
	text  string
	why   string
}

// meanings are the errors that are known, but for that of a message which is not the last one
// any more: that one is read. What is not listed is transient.
func meanings() []meaning {
	const (
		transient     = connectors.Transient
		misconfigured = connectors.Misconfigured
	)
	return []meaning{
		{api: 10059, class: misconfigured, text: "there is no such bucket or stream", why: whySchema},
		{api: 10060, class: misconfigured, text: "the subject is of another stream", why: whySchema},
		{api: 10109, class: misconfigured, text: "the bucket or stream is sealed", why: whySchema},
		{api: 10039, class: misconfigured, text: "the account has no JetStream", why: whySchema},
		{api: 10076, class: misconfigured, text: "the server has no JetStream", why: whySchema},
		{api: 10120, class: misconfigured, text: "the account has no limits for JetStream", why: whySchema},
		{api: 10054, class: connectors.Permanent, text: "the payload is larger than the bucket or stream takes", why: whyNever},
		{api: 10097, class: connectors.Permanent, text: "the headers are larger than the server takes", why: whyNever},
		{api: 10077, class: connectors.Unready, text: "the bucket or stream is full", why: whyRoom},
		{api: 10002, class: connectors.Unready, text: "the account has used up its resources", why: whyRoom},
		{api: 10023, class: connectors.Unready, text: "the server has not enough resources", why: whyRoom},
		{api: 10028, class: connectors.Unready, text: "the server has not enough memory", why: whyRoom},
		{api: 10047, class: connectors.Unready, text: "the server has not enough storage", why: whyRoom},
		{api: 10008, class: transient, text: "JetStream is not available at the moment", why: whyServer},
		{api: 10009, class: transient, text: "the server is not the one that decides now", why: whyServer},
		{api: 10118, class: transient, text: "the stream is offline", why: whyServer},
		{api: 10167, class: connectors.Throttled, text: "the server has too many requests", why: whyLess},
		{err: nats.ErrNoResponders, code: connectors.CodeRefused, class: transient, text: "nobody listens to the subject", why: whyServer},
		{err: jetstream.ErrNoStreamResponse, code: "no_stream", class: transient, text: "no stream takes the subject", why: whyServer},
		{err: jetstream.ErrJetStreamNotEnabled, code: "10076", class: misconfigured, text: "the server has no JetStream", why: whySchema},
		{err: errRefused, code: "permission", class: misconfigured, text: errRefused.Error(), why: whyLogin},
		{err: nats.ErrAuthorization, code: "authorization", class: misconfigured, text: "the server does not take the login", why: whyLogin},
		{err: nats.ErrAuthExpired, code: "expired", class: misconfigured, text: "the login has expired", why: whyLogin},
		{err: nats.ErrAuthRevoked, code: "revoked", class: misconfigured, text: "the login was revoked", why: whyLogin},
		{err: nats.ErrAccountAuthExpired, code: "account_expired", class: misconfigured, text: "the account has expired", why: whyLogin},
		{err: errNKey, code: "nkey", class: misconfigured, text: errNKey.Error(), why: whyLogin},
		{err: errCredentials, code: "credentials", class: misconfigured, text: errCredentials.Error(), why: whyLogin},
		{err: nats.ErrSecureConnWanted, code: "no_tls", class: misconfigured, text: "the server speaks no TLS", why: whySchema},
		{err: nats.ErrHeadersNotSupported, code: "no_headers", class: misconfigured, text: "the server knows no headers", why: whySchema},
		{err: nats.ErrMaxPayload, code: codeMaxPayload, class: connectors.Permanent, text: "the payload is larger than the server takes", why: whyNever},
		{err: nats.ErrMaxConnectionsExceeded, code: "max_connections", class: connectors.Throttled, text: "the server has too many connections", why: whyLess},
		{err: nats.ErrMaxAccountConnectionsExceeded, code: "max_account_connections", class: connectors.Throttled, text: "the account has too many connections", why: whyLess},
		{err: nats.ErrConnectionClosed, code: "closed", class: transient, text: "connection closed before the answer", why: whyServer},
		{err: nats.ErrStaleConnection, code: "closed", class: transient, text: "connection closed before the answer", why: whyServer},
	}
}

const codeMaxPayload = "max_payload"

// Codes says what each error means: by the number of JetStream's API, or by a word. What is
// not listed is transient.
func Codes() []connectors.Meaning {
	var out []connectors.Meaning
	for _, m := range meanings() {
		if m.api != 0 {
			m.code = strconv.Itoa(int(m.api))
		}
		if m.code == "10076" && m.api == 0 || m.err == nats.ErrStaleConnection { //nolint:errorlint // an entry of the list above
			continue // it has a line
		}
		out = append(out, connectors.Meaning{Code: m.code, Class: m.class, What: m.text, Why: m.why})
	}
	return out
}

// explain returns what an error means.
func explain(ctx context.Context, err error) *connectors.Error {
	var own *connectors.Error
	if errors.As(err, &own) {
		return own
	}
	var api *jetstream.APIError
	isAPI := errors.As(err, &api)
	for _, m := range meanings() {
		switch {
		case isAPI && m.api == api.ErrorCode:
			m.code = strconv.Itoa(int(m.api))
		case m.api != 0 || !errors.Is(err, m.err):
			continue
		}
		return &connectors.Error{Class: m.class, Code: m.code, Err: errors.New(m.text)}
	}
	switch {
	case isAPI:
		return &connectors.Error{Code: strconv.Itoa(int(api.ErrorCode)), Err: errors.New("JetStream answered with an error")}
	case errors.Is(ctx.Err(), context.Canceled):
		return &connectors.Error{Code: "canceled", Err: errors.New("the call was cancelled")}
	case ctx.Err() != nil, errors.Is(err, nats.ErrTimeout):
		return &connectors.Error{Code: "timeout", Err: errors.New("the server did not answer in time")}
	}
	d := connkit.Diagnose(err)
	return &connectors.Error{Class: d.Class, Code: d.Code, Err: errors.New(d.Text)}
}
