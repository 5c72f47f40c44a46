package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/tokens"
)

type dryRunInput struct {
	Channel string `path:"channel" maxLength:"63"`
	RawBody []byte `contentType:"application/json"`
}

type dryRunOutput struct{ Body DryRunAnswer }

// A DryRunAnswer tells what a draft would change, or what is wrong with it.
type DryRunAnswer struct {
	operate.DryRun
	Problems []DraftProblem `json:"problems" doc:"What is wrong with the draft; then it was not run"`
}

// A DraftProblem is one bad field of a draft.
type DraftProblem struct {
	Path    string `json:"path" example:"retry.max_attempts"`
	Message string `json:"message"`
}

func (s *server) dryRunRoute() {
	register(s, route{
		id: "dry-run-channel", method: http.MethodPost, path: "/v1/channels/{channel}/dry-run", tag: "Channels", maxBody: maxAdminBody,
		summary: "What would a draft make of the last updates? Nothing is sent; the scope payload, too, shows contents", rule: configuring, status: http.StatusOK,
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: channelSchema(s.o.Client.Catalog)}}},
	}, s.dryRun)
}

func (s *server) dryRun(ctx context.Context, in *dryRunInput) (*dryRunOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	out := &dryRunOutput{Body: DryRunAnswer{Problems: []DraftProblem{}}}
	out.Body.Outcomes, out.Body.Samples = []operate.DryCount{}, []operate.DrySample{}
	cfg, err := s.decodeChannel(in.Channel, in.RawBody)
	var bad *Problem
	if errors.As(err, &bad) && len(bad.Errors) > 0 {
		for _, e := range bad.Errors {
			out.Body.Problems = append(out.Body.Problems, DraftProblem{strings.TrimPrefix(strings.TrimPrefix(e.Location, "body"), "."), e.Message})
		}
		out.Body.Change.Channel, out.Body.Change.Fields = in.Channel, []operate.FieldChange{}
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	if cfg.From != nil && !c.allowsTopic(cfg.From.Topic) {
		return nil, forbidden("the token is not for the topic that the channel would read")
	}
	out.Body.DryRun, err = s.acting(ctx).DryRun(ctx, cfg, c.may(tokens.Payload, in.Channel))
	return out, err
}
