// Package httpkit is what connectors to targets that speak HTTP share: a transport that
// connects only where the channel may, what the statuses of answers mean, the reading of
// answers in bounds, and basic authentication.
package httpkit

import (
	"crypto/tls"
	"net/http"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Limits of the connections.
const (
	idleConnTimeout = 90 * time.Second
	maxAnswerHeader = 64 << 10 // bytes
	pingInterval    = 15 * time.Second
	pingTimeout     = 10 * time.Second
)

// A Transport gives the answers of a transport, each with a body that ends no later
// than the context of its request. Its RoundTrip follows no redirect, keeps no cookie and
// does not put the URL into its errors, all of which http.Client would do.
type Transport struct{ *http.Transport }

// NewTransport returns a transport that connects only where the dialer does and keeps up to
// so many connections. Nothing but the contexts of requests bounds them.
func NewTransport(dialer *connectors.Dialer, secure *tls.Config, conns int) Transport {
	conns = max(1, conns)
	return Transport{&http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        secure,
		MaxIdleConns:           conns,
		MaxIdleConnsPerHost:    conns,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxAnswerHeader,
		DisableCompression:     true, // little is read of an answer, and asking costs a header in each request
		ForceAttemptHTTP2:      true, // an own dialer and TLS configuration would turn it off
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingInterval, PingTimeout: pingTimeout},
	}}
}

// RoundTrip is that of the transport. 101 is the only informational status that the
// transport gives as an answer. The connection behind it is no longer HTTP: the
// transport leaves it to us, heeds the request's context no more, and the other side
// can keep it open without a word for ever. Nobody asked for it, so it is closed.
func (t Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	answer, err := t.Transport.RoundTrip(req)
	if err == nil && answer.StatusCode == http.StatusSwitchingProtocols {
		_ = answer.Body.Close() // nothing is written to it
		answer.Body = http.NoBody
	}
	return answer, err
}
