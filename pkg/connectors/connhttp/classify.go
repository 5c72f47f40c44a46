package connhttp

import (
	"net/http"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
	"github.com/hms-utl/extsync/pkg/events"
)

// classOf returns the class of a status where no rule decides. asked says that the
// target asked for time by Retry-After.
func classOf(status int, op events.Op, asked bool) connectors.Class {
	if op == events.Delete && absent(status) {
		return connectors.OK // the target is as the tombstone wants it
	}
	return httpkit.ClassOf(status, asked)
}

// absent reports whether a status says that the target holds nothing.
func absent(status int) bool { return status == http.StatusNotFound || status == http.StatusGone }
