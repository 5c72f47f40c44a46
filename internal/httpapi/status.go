package httpapi

import (
	"context"
	"net/http"

	"github.com/hms-utl/extsync/internal/operate"
)

type statusOutput struct{ Body operate.ChannelStatus }

type statusesOutput struct{ Body operate.Status }

func (s *server) statusRoutes() {
	register(s, route{
		id: "get-status", method: http.MethodGet, path: "/v1/status", tag: "Channels",
		summary: "How are the channels?", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, _ *struct{}) (*statusesOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		status, err := s.o.Client.StatusOf(ctx, callerOf(ctx).allows)
		return &statusesOutput{Body: status}, err
	})
	register(s, route{
		id: "get-channel-status", method: http.MethodGet, path: "/v1/channels/{channel}/status", tag: "Channels",
		summary: "How is a channel?", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *channelInput) (*statusOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		status, err := s.o.Client.Status(ctx, in.Channel)
		if err != nil {
			return nil, err
		}
		return &statusOutput{Body: status.Channels[0]}, nil
	})
}
