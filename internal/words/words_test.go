package words_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/words"
)

var errOurs = errors.New("broker is not available")

func decodeError(text string) error {
	var into struct{ Key string }
	return json.Unmarshal([]byte(text), &into)
}

func openError(path string) error {
	f, err := os.Open(path) //nolint:gosec // of the test
	if err == nil {
		_ = f.Close()
	}
	return err
}

func TestOf(t *testing.T) {
	past := &x509.Certificate{NotAfter: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)}
	host := &x509.Certificate{DNSNames: []string{"nats.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errOurs, "broker is not available"},
		{fmt.Errorf("%w: %w", errOurs, context.DeadlineExceeded), "broker is not available: there was no answer in time"},
		{fmt.Errorf("read the log: %w", nats.ErrNoResponders), "read the log: nobody answers there"},
		{fmt.Errorf("publish: %w", nats.ErrReconnectBufExceeded), "publish: the connection to the broker is lost"},
		{fmt.Errorf("publish: %w", nats.ErrMaxPayload), "publish: the message is larger than the broker takes (max_payload)"},
		{fmt.Errorf("connect: %w", nats.ErrAuthorization), "connect: it does not know our credentials"},
		{nats.ErrBadSubject, "invalid subject"},
		{&jetstream.APIError{Code: 503, ErrorCode: 10008, Description: "system temporarily unavailable"}, "the broker says: system temporarily unavailable (10008)"},
		{fmt.Errorf("stream x: %w", jetstream.ErrStreamNotFound), "stream x: the broker says: stream not found (10059)"},
		{decodeError(`{"key":5}`), "Key cannot be a number"},
		{decodeError(`{"key":`), "it is not valid JSON (at byte 7)"},
		{fmt.Errorf("--data: %w", openError("/no/such")), "--data: there is no file /no/such"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "its certificate is signed by an authority that is not trusted here"},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: host, Host: "localhost"}}, "its certificate is for nats.example, 127.0.0.1, and not for localhost"},
		{x509.CertificateInvalidError{Cert: past, Reason: x509.Expired}, "its certificate has expired at 2020-01-02T03:04:05Z"},
		{errors.Join(fmt.Errorf("a: %w", nats.ErrTimeout), errors.New("b")), "a: the broker did not answer in time\nb"},
		{fmt.Errorf("%w: %w", errOurs, fmt.Errorf("%w: x", errOurs)), "broker is not available: x"},
	} {
		if got := words.Of(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

// Whatever is behind an operation on the network, neither its name in Go nor a call of the
// system is shown.
func TestOfNetwork(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	address := listener.Addr().String()
	_, used := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if got := words.Of(used); got != address+" is used by another process" {
		t.Errorf("%v: %q", used, got)
	}
	_ = listener.Close()
	_, refused := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if got := words.Of(fmt.Errorf("not reachable: %w", refused)); got != "not reachable: nothing listens at "+address {
		t.Errorf("%v: %q", refused, got)
	}
	unknown := &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "no.example", Server: "10.0.0.1:53", IsNotFound: true}}
	if got := words.Of(unknown); got != "there is no host named no.example" || strings.Contains(got, "10.0.0.1") {
		t.Errorf("%q", got)
	}
}
