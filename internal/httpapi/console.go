package httpapi

import (
	"context"
	"net/http"

	"github.com/hms-utl/extsync/internal/console"
	"github.com/hms-utl/extsync/pkg/channels"
)

// consolePath is where the console is.
const consolePath = "/console/"

type schemaOutput struct{ Body map[string]any }

// consoleRoutes serve the console's files, which are public as they tell nothing about
// anybody's data, and what only a form needs.
func (s *server) consoleRoutes(mux *http.ServeMux) error {
	files, err := console.Handler(func(r *http.Request) string { return r.PathValue("file") })
	if err != nil {
		return err
	}
	mux.Handle("GET "+consolePath+"{file...}", files)
	register(s, route{
		id: "get-channel-schema", method: http.MethodGet, path: "/v1/channel-schema", tag: "Channels",
		summary: "The JSON schema of a channel, for forms; that of connector.config is with its kind", rule: read, status: http.StatusOK,
	}, func(context.Context, *struct{}) (*schemaOutput, error) {
		return &schemaOutput{Body: channels.FieldsSchema()}, nil
	})
	return nil
}
