package connkit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"syscall"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A Diagnosis is what an error of a network or of TLS means. Text is one line for people,
// without anything that came from the other side.
type Diagnosis struct {
	Class      connectors.Class
	Code, Text string
}

// CodeTLSVerify is the code of a certificate that is not accepted, CodeTLSAlert of a
// handshake that the other side refused.
const (
	CodeTLSVerify = "tls_verify"
	CodeTLSAlert  = "tls_alert"
)

// Diagnose tells from an error of a connection what happened. What it does not know is
// transient.
func Diagnose(err error) Diagnosis {
	var denied *connectors.AddressError
	if errors.As(err, &denied) {
		return Diagnosis{connectors.Misconfigured, "address_denied", denied.Error()}
	}
	var own *connectors.Error
	if errors.As(err, &own) { // of the Env
		return Diagnosis{own.Class, own.Code, own.Err.Error()}
	}
	if text, ok := untrusted(err); ok {
		return Diagnosis{connectors.Misconfigured, CodeTLSVerify, text}
	}
	if alert, ok := remoteAlert(err); ok {
		return Diagnosis{alertClass(alert), CodeTLSAlert, "the other side refused the TLS handshake: " + alert.Error()}
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		return Diagnosis{connectors.Transient, "tls", "the other side does not speak TLS"}
	}
	return diagnoseNetwork(err)
}

func diagnoseNetwork(err error) Diagnosis {
	const transient = connectors.Transient
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return Diagnosis{transient, connectors.CodeDNS, "the name cannot be resolved"}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Diagnosis{transient, "timeout", "no answer in time"}
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist): // of a socket
		return Diagnosis{transient, connectors.CodeRefused, "connection refused"}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Diagnosis{transient, "reset", "connection reset"}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Diagnosis{transient, connectors.CodeUnreachable, "no route to the host"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return Diagnosis{transient, "closed", "connection closed before the answer"}
	default:
		return Diagnosis{transient, "transport", "no valid answer"}
	}
}

// untrusted reports whether the other side's certificate was not accepted.
func untrusted(err error) (text string, ok bool) {
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
