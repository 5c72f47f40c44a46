package httpapi

import (
	"context"
	"net/http"

	"github.com/hms-utl/extsync/internal/operate"
)

type kindsOutput struct{ Body operate.KindList }

func (s *server) kindsRoute() {
	register(s, route{
		id: "list-connector-kinds", method: http.MethodGet, path: "/v1/connector-kinds", tag: "Channels",
		summary: "List the connector kinds: what they can do, and the schema of their configuration", rule: read, status: http.StatusOK,
	}, func(context.Context, *struct{}) (*kindsOutput, error) {
		return &kindsOutput{Body: operate.Kinds(s.o.Client.Catalog)}, nil
	})
}
