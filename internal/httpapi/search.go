package httpapi

import (
	"context"
	"net/http"

	"github.com/hms-utl/extsync/internal/operate"
)

type searchInput struct {
	Query string `query:"q" required:"true" minLength:"1" maxLength:"1024" doc:"A key or its beginning, or a part of the name of a channel, a topic or a target"`
}

type searchOutput struct{ Body operate.Hits }

func (s *server) searchRoute() {
	register(s, route{
		id: "search", method: http.MethodGet, path: "/v1/search", tag: "Entities",
		summary: "Look for a key, a channel, a topic or a target", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *searchInput) (*searchOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		c := callerOf(ctx)
		hits, err := s.board.Search(ctx, in.Query, c.allows, c.allowsTopic)
		return &searchOutput{Body: hits}, err
	})
}
