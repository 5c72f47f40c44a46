package connsql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A verdict is what an error of a database means.
type verdict struct {
	class connectors.Class
	code  string
	text  string // for people; it shows no value of a row
	said  string // the database's own words, beyond those in text; they may show values
	cause error  // a sentinel that callers may look for, nil if there is none
	// shared: the reason does not lie in a row, so others would meet it too.
	shared bool
	// waited: a lock was waited for in vain.
	waited bool
	// noTable: the table is missing.
	noTable bool
}

// wrap returns the verdict's error with this text.
func (v verdict) wrap(text string) error {
	if v.cause != nil {
		return fmt.Errorf("%s: %w", text, v.cause)
	}
	return errors.New(text)
}

// ended is what a call comes to whose ctx has ended.
func ended(err error) *connectors.Error {
	code := "canceled"
	if errors.Is(err, context.DeadlineExceeded) {
		code = "timeout"
	}
	return &connectors.Error{Class: connectors.Transient, Code: code, Err: fmt.Errorf("the database did not answer in time: %w", err)}
}

// judgeNetwork classifies an error that is not an answer of the database. What
// it does not know is Transient, and its text is not shown.
func judgeNetwork(err error) verdict {
	v := verdict{class: connectors.Transient, shared: true}
	var dns *net.DNSError
	var netErr net.Error
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "remote error": // how crypto/tls reports an alert
		v.class, v.code, v.text = connectors.Misconfigured, "tls", "the server refuses the TLS handshake: "+oneLine(op.Err.Error())
	case isTLS(err):
		v.class, v.code, v.text = connectors.Misconfigured, "tls", "the server's certificate is not accepted: "+tlsText(err)
	case errors.As(err, &dns):
		v.code, v.text = connectors.CodeDNS, "the name "+dns.Name+" of the server cannot be looked up"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		v.code, v.text = "timeout", "the server did not answer in time"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		v.code, v.text = connectors.CodeRefused, "nobody listens at the server's address"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.As(err, &netErr):
		v.code, v.text = "connection", "the connection to the server was lost"
	default:
		v.code, v.text = "unknown", "the database could not be asked"
	}
	return v
}

func isTLS(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host) ||
		errors.As(err, &invalid) || errors.As(err, &record)
}

// tlsText says why a certificate is refused. The errors of crypto/x509 show
// names and dates of the certificate, nothing of ours.
func tlsText(err error) string {
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) {
		return oneLine(verification.Err.Error())
	}
	var host x509.HostnameError
	if errors.As(err, &host) {
		return oneLine(host.Error())
	}
	return "it was not signed by an authority that is trusted here"
}

// oneLine makes one line of a text.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// scrub takes secrets out of a text.
func scrub(text string, secrets []string) string {
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return text
}

// join returns what of the parts is there, in one line.
func join(parts ...string) string {
	var out []string
	for _, part := range parts {
		if part = oneLine(part); part != "" {
			out = append(out, part)
		}
	}
	return strings.ToValidUTF8(strings.Join(out, "; "), "\uFFFD")
}

// clip cuts a text to at most so many bytes, between two characters.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
