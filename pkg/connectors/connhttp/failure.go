package connhttp

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// failed is the result of a call that got no answer. to names the other side.
func (c *connector) failed(parent, ctx context.Context, to string, err error) connectors.Result {
	return httpkit.Unanswered(parent, ctx, to, diagnose(err), err)
}

// diagnose tells from an error of the transport what happened.
func diagnose(err error) connkit.Diagnosis {
	var proxy *proxyError
	var denied *connectors.AddressError
	if errors.As(err, &proxy) && !errors.As(err, &denied) {
		switch proxy.status {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
			return connkit.Diagnosis{Class: connectors.Misconfigured, Code: "proxy", Text: proxy.Error()}
		}
		return connkit.Diagnosis{Class: connectors.Transient, Code: "proxy", Text: proxy.Error()}
	}
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "proxyconnect" || op.Op == "socks connect") && !errors.As(err, &denied) {
		return connkit.Diagnosis{Class: connectors.Transient, Code: "proxy", Text: "the proxy did not connect"}
	}
	return connkit.Diagnose(err)
}
