package connhttp

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
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
	var proxy *proxyError
	var denied *connectors.AddressError
	if errors.As(err, &proxy) && !errors.As(err, &denied) {
		switch proxy.status {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
			return connectors.Misconfigured, "proxy", proxy.Error()
		}
		return connectors.Transient, "proxy", proxy.Error()
	}
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "proxyconnect" || op.Op == "socks connect") && !errors.As(err, &denied) {
		return connectors.Transient, "proxy", "the proxy did not connect"
	}
	d := connkit.Diagnose(err)
	return d.Class, d.Code, d.Text
}
