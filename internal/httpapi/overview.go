package httpapi

import (
	"context"
	"net/http"

	"github.com/hms-utl/extsync/internal/operate"
)

type overviewInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"200"`
	Cursor string `query:"cursor" maxLength:"70" doc:"Of the page before"`
}

type overviewOutput struct{ Body operate.Overview }

// overviewRoutes are about all channels at a glance.
func (s *server) overviewRoutes() {
	register(s, route{
		id: "get-overview", method: http.MethodGet, path: "/v1/overview", tag: "Installation",
		summary: "How do all channels stand, and what needs attention?", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *overviewInput) (*overviewOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		snapshot, err := s.board.Look(ctx)
		if err != nil {
			return nil, err
		}
		c := callerOf(ctx)
		page, err := snapshot.Overview(c.allows, c.allowsTopic, in.Limit, in.Cursor)
		return &overviewOutput{Body: page}, cursorProblem(err)
	})
}
