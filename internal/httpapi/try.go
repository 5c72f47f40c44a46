package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/hms-utl/extsync/internal/tryout"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

type tryInput struct {
	Channel string `path:"channel" maxLength:"63"`
	RawBody []byte
	header
}

type tryOutput struct{ Body *tryout.Report }

func (s *server) tryRoutes() {
	register(s, route{
		id: "test-channel", method: http.MethodPost, path: "/v1/channels/{channel}/test", tag: "Channels",
		summary: "What would the channel send for a sample update? Nothing is sent; secrets are not read", rule: configuring, status: http.StatusOK,
		body: s.updateBody(jsonType, "application/cloudevents+json", "*/*"),
	}, s.try)
}

// try shows what a worker would do. The secrets of a channel are with the
// workers: placeholders stand for them.
func (s *server) try(ctx context.Context, in *tryInput) (*tryOutput, error) {
	d, problem := decodeRequest(in.h, in.RawBody)
	if problem != nil {
		return nil, problem
	}
	u, problem := d.update(s.o.Client.Names, events.ToChannel(in.Channel))
	if problem != nil {
		return nil, problem
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	e, err := s.registry.Get(ctx, in.Channel)
	if err != nil {
		return nil, err
	}
	a := connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
	report, err := tryout.Run(ctx, s.o.Client.Catalog, e.Config, connectors.Env{}, a, false)
	if report == nil || err != nil && !errors.Is(err, tryout.ErrFailed) {
		return nil, err
	}
	return &tryOutput{Body: report}, nil // it says itself what fails
}
