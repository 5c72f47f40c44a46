package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

type resyncInput struct {
	Channel string `path:"channel" maxLength:"63"`
	DryRun  bool   `query:"dry_run" doc:"Count the keys; start nothing"`
	RawBody []byte `contentType:"application/json"`
}

type resyncOutput struct{ Body operate.Resync }

func (s *server) resyncRoutes() {
	const path = "/v1/channels/{channel}/resync"
	schema := huma.SchemaFromType(s.api.OpenAPI().Components.Schemas, typeOf[channels.Selection]())
	register(s, route{
		id: "start-resync", method: http.MethodPost, path: path, tag: "Channels", maxBody: maxAdminBody,
		summary: "Deliver current versions again: all, those of some keys, or of keys with a prefix", rule: operating, status: http.StatusAccepted,
		body: &huma.RequestBody{Content: map[string]*huma.MediaType{jsonType: {Schema: schema}}},
	}, s.startResync)
	register(s, route{
		id: "get-resync", method: http.MethodGet, path: path, tag: "Channels",
		summary: "How far is a channel's resync?", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *channelInput) (*resyncOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		return answerResync(s.o.Client.Resync(ctx, in.Channel))
	})
	for _, step := range []operate.ResyncStep{operate.PauseResync, operate.ResumeResync, operate.StopResync} {
		register(s, route{
			id: string(step) + "-resync", method: http.MethodPut, path: path + "/" + string(step), tag: "Channels",
			summary: "Have a channel's resync " + string(step), rule: operating, status: http.StatusOK,
		}, func(ctx context.Context, in *channelInput) (*resyncOutput, error) {
			ctx, cancel := context.WithTimeout(ctx, readTimeout)
			defer cancel()
			return answerResync(s.acting(ctx).ChangeResync(ctx, in.Channel, step))
		})
	}
}

func answerResync(r operate.Resync, err error) (*resyncOutput, error) {
	return &resyncOutput{Body: r}, err
}

func (s *server) startResync(ctx context.Context, in *resyncInput) (*resyncOutput, error) {
	var selection channels.Selection // an empty body is all
	if len(bytes.TrimSpace(in.RawBody)) > 0 {
		if err := events.CheckJSON(in.RawBody); err != nil { // keys would become others
			return nil, invalid(FieldError{Location: "body", Message: err.Error()})
		}
		dec := json.NewDecoder(bytes.NewReader(in.RawBody))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&selection); err != nil {
			return nil, invalid(FieldError{Location: "body", Message: "it is not an object with keys or prefix"})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	if in.DryRun {
		return answerResync(s.o.Client.PlanResync(ctx, in.Channel, selection))
	}
	return answerResync(s.acting(ctx).StartResync(ctx, in.Channel, selection))
}
