package httpapi

import (
	"context"
	"net/http"
	"path"
	"strings"

	"github.com/hms-utl/extsync/internal/console"
	"github.com/hms-utl/extsync/pkg/channels"
)

// consolePath is where the console is.
const consolePath = "/console/"

type schemaOutput struct{ Body map[string]any }

// toConsole sends whoever leaves out the last slash to the console. The address is relative: a
// proxy may have us under a path of its own.
func toConsole(w http.ResponseWriter, r *http.Request) {
	to := path.Base(consolePath) + "/"
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// consoleRoutes serve the console's files, which are public as they tell nothing about
// anybody's data, and what only a form needs.
func (s *server) consoleRoutes(mux *http.ServeMux) error {
	files, err := console.Handler(func(r *http.Request) string { return r.PathValue("file") })
	if err != nil {
		return err
	}
	mux.Handle("GET "+consolePath+"{file...}", files)
	mux.HandleFunc("GET "+strings.TrimSuffix(consolePath, "/"), toConsole)
	register(s, route{
		id: "get-channel-schema", method: http.MethodGet, path: "/v1/channel-schema", tag: "Channels",
		summary: "The JSON schema of a channel, for forms; that of connector.config is with its kind", rule: read, status: http.StatusOK,
	}, func(context.Context, *struct{}) (*schemaOutput, error) {
		return &schemaOutput{Body: channels.FieldsSchema()}, nil
	})
	return nil
}
