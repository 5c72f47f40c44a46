package connhttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"syscall"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A callError is a call that got no answer. Its text is made here, from what is
// known of the cause: the causes' own texts can hold URLs and what the target
// sent.
type callError struct {
	to, what string
	cause    error
}

func (e *callError) Error() string { return e.to + ": " + e.what }
func (e *callError) Unwrap() error { return e.cause }

// failed is the result of a call that got no answer. to names the other side.
func (c *connector) failed(parent, ctx context.Context, to string, err error) connectors.Result {
	class, code, what := diagnose(err)
	switch {
	case errors.Is(parent.Err(), context.Canceled):
		class, code, what = connectors.Transient, "canceled", "the call was cancelled"
	case ctx.Err() != nil:
		class, code, what = connectors.Transient, "timeout", "no answer in time"
	}
	return connectors.Failed(class, code, &callError{to: to, what: what, cause: err})
}

// diagnose tells from an error of the transport what happened.
func diagnose(err error) (class connectors.Class, code, what string) {
	var denied *addressError
	if errors.As(err, &denied) {
		return connectors.Misconfigured, "address_denied", denied.Error()
	}
	var proxy *proxyError
	if errors.As(err, &proxy) {
		switch proxy.status {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
			return connectors.Misconfigured, "proxy", proxy.Error()
		}
		return connectors.Transient, "proxy", proxy.Error()
	}
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "proxyconnect" || op.Op == "socks connect") {
		return connectors.Transient, "proxy", "the proxy did not connect"
	}
	if what, ok := untrusted(err); ok {
		return connectors.Misconfigured, "tls_verify", what
	}
	if alert, ok := remoteAlert(err); ok {
		return alertClass(alert), "tls_alert", "the other side refused the TLS handshake: " + alert.Error()
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		return connectors.Transient, "tls", "the other side does not speak TLS"
	}
	return diagnoseNetwork(err)
}

func diagnoseNetwork(err error) (class connectors.Class, code, what string) {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return connectors.Transient, connectors.CodeDNS, "the name cannot be resolved"
	case errors.As(err, &timeout) && timeout.Timeout():
		return connectors.Transient, "timeout", "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return connectors.Transient, connectors.CodeRefused, "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return connectors.Transient, "reset", "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return connectors.Transient, connectors.CodeUnreachable, "no route to the host"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return connectors.Transient, "closed", "connection closed before the answer"
	default:
		return connectors.Transient, "transport", "no valid answer"
	}
}

// untrusted reports whether the other side's certificate was not accepted.
func untrusted(err error) (what string, ok bool) {
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &host):
		return "the certificate is for another name", true
	case errors.As(err, &authority):
		return "the certificate is signed by an unknown authority", true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate has expired or is not yet valid", true
	case errors.As(err, &invalid), errors.As(err, &verify):
		return "the certificate is not valid", true
	default:
		return "", false
	}
}

// remoteAlert returns the TLS alert that the other side sent. crypto/tls gives it
// as a number of an unexported type inside an OpError of its own. In TLS 1.3 a
// refused client certificate can show as a reset connection instead, which is
// transient: the alert is seen by one of the next attempts.
func remoteAlert(err error) (tls.AlertError, bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return 0, false
	}
	if v := reflect.ValueOf(op.Err); v.Kind() == reflect.Uint8 {
		return tls.AlertError(v.Uint()), true
	}
	return 0, false
}

// alertClass tells alerts about what we offered (certificate, protocol, name),
// which an operator must change, from those of a server in trouble (RFC 8446,
// section 6.2).
func alertClass(a tls.AlertError) connectors.Class {
	switch a {
	case 40, 70, 71, 112, 120, // handshake failure, protocol version, security, name, application protocol
		42, 43, 44, 45, 46, 48, 49, 116: // bad to unknown certificate, unknown CA, access denied, certificate required
		return connectors.Misconfigured
	default:
		return connectors.Transient
	}
}
