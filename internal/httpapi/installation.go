package httpapi

import (
	"context"
	"net/http"

	"github.com/hms-utl/extsync/internal/operate"
)

type workersOutput struct{ Body operate.Workers }

type doctorOutput struct{ Body operate.Examination }

// installationRoutes are about what all channels share.
func (s *server) installationRoutes() {
	register(s, route{
		id: "get-workers", method: http.MethodGet, path: "/v1/workers", tag: "Installation",
		summary: "Who works on what, and what waits at whom?", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, _ *struct{}) (*workersOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		found, err := s.o.Client.Workers(ctx)
		found.Only(callerOf(ctx).allows)
		return &workersOutput{Body: found}, err
	})
	register(s, route{
		id: "examine", method: http.MethodGet, path: "/v1/doctor", tag: "Installation",
		summary: "What is wrong with the installation? Targets are not connected to from here", rule: admin, status: http.StatusOK,
	}, func(ctx context.Context, _ *struct{}) (*doctorOutput, error) {
		if callerOf(ctx).limited() {
			return nil, forbidden("the token is limited to channels, and the examination is of all")
		}
		ctx, cancel := context.WithTimeout(ctx, adminTimeout)
		defer cancel()
		found, err := s.o.Client.Examine(ctx, operate.ExamineOptions{NoTargets: true})
		return &doctorOutput{Body: found}, err
	})
}
