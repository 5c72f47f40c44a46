package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

type resyncInput struct {
	Channel string `path:"channel" maxLength:"63"`
	RawBody []byte `contentType:"application/json"`
}

type resyncOutput struct{ Body channels.ResyncStatus }

func (s *server) resyncRoutes() {
	const path = "/v1/channels/{channel}/resync"
	schema := huma.SchemaFromType(s.api.OpenAPI().Components.Schemas, typeOf[channels.Selection]())
	register(s, route{
		id: "start-resync", method: http.MethodPost, path: path, tag: "Channels", maxBody: maxAdminBody,
		summary: "Deliver current versions again: all, those of some keys, or of keys with a prefix", rule: admin, status: http.StatusAccepted,
		body: &huma.RequestBody{Content: map[string]*huma.MediaType{jsonType: {Schema: schema}}},
	}, s.startResync)
	register(s, route{
		id: "get-resync", method: http.MethodGet, path: path, tag: "Channels",
		summary: "How far is a channel's resync?", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *channelInput) (*resyncOutput, error) {
		return s.resyncStatus(ctx, in.Channel)
	})
	for name, state := range map[string]channels.ResyncState{
		"pause": channels.ResyncPaused, "resume": channels.ResyncRunning, "stop": channels.ResyncStopped,
	} {
		register(s, route{
			id: name + "-resync", method: http.MethodPut, path: path + "/" + name, tag: "Channels",
			summary: "Have a channel's resync " + name, rule: admin, status: http.StatusOK,
		}, func(ctx context.Context, in *channelInput) (*resyncOutput, error) {
			err := s.audited(ctx, "resync."+name, in.Channel, nil, nil, func(ctx context.Context) (any, error) {
				return s.o.Registry.SetResync(ctx, in.Channel, state)
			})
			if err != nil {
				return nil, err
			}
			return s.resyncStatus(ctx, in.Channel)
		})
	}
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
	if err := selection.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	err := s.audited(ctx, "resync.start", in.Channel, nil, selection, func(ctx context.Context) (any, error) {
		return s.o.Registry.StartResync(ctx, in.Channel, selection)
	})
	if err != nil {
		return nil, err
	}
	return s.resyncStatus(ctx, in.Channel)
}

func (s *server) resyncStatus(ctx context.Context, channel string) (*resyncOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if _, err := s.o.Registry.Get(ctx, channel); err != nil {
		return nil, err
	}
	status, err := s.o.Registry.ResyncStatus(ctx, channel)
	return &resyncOutput{Body: status}, err
}
