package httpapi

import (
	"encoding/json"
	"mime"
	"net/http"

	"github.com/hms-utl/extsync/internal/draft"
	"github.com/hms-utl/extsync/pkg/events"
)

// UpdateBody is an update as the API takes it.
type UpdateBody struct {
	Channels      []string        `json:"channels,omitempty" doc:"Only for /v1/updates: where to publish"`
	Key           string          `json:"key" minLength:"1" maxLength:"1024" doc:"The entity's id"`
	Version       any             `json:"version" doc:"A number of at least 1, as such or as text, or an RFC 3339 time"`
	Op            string          `json:"op,omitempty" enum:"upsert,delete" doc:"Default: upsert"`
	Base          any             `json:"base,omitempty" doc:"The version that this one was made from; a conflict if it is not the newest"`
	Payload       json.RawMessage `json:"payload,omitempty" doc:"The content as JSON. The target gets these very bytes"`
	PayloadBase64 string          `json:"payload_base64,omitempty" doc:"The content, if it is not JSON"`
	ContentType   string          `json:"content_type,omitempty" doc:"Default: application/json"`
	ID            string          `json:"id,omitempty" doc:"CloudEvents id"`
	Source        string          `json:"source,omitempty" doc:"CloudEvents source"`
	Type          string          `json:"type,omitempty" doc:"CloudEvents type"`
	Time          string          `json:"time,omitempty" doc:"When the version was made (RFC 3339)"`
	AckService    string          `json:"ack_service,omitempty" doc:"The service for which the ack is kept; see /v1/acks/{service}"`
}

const (
	jsonType       = "application/json"
	cloudEventType = "application/cloudevents+json"
)

// A drafted is the draft of a request, which says where its fields are.
type drafted struct {
	*draft.Draft
	part string // of the request; "": a line of it
}

// decodeRequest reads the update of a request: our JSON, or a CloudEvent in
// either mode.
func decodeRequest(h http.Header, body []byte) (drafted, *Problem) {
	contentType := h.Get("Content-Type")
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return drafted{}, problem(http.StatusUnsupportedMediaType, "media_type", "give a Content-Type: "+jsonType+", "+cloudEventType+", or that of the payload of a CloudEvent in binary mode")
	}
	d := drafted{part: "body"}
	switch {
	case h.Get(events.HeaderSpecVersion) != "":
		d = drafted{draft.Binary(h, body), "header"}
	case media == cloudEventType:
		d.Draft = draft.CloudEvent(body)
	case media == jsonType:
		d.Draft = draft.Request(body)
	default:
		return drafted{}, problem(http.StatusUnsupportedMediaType, "media_type", "neither "+jsonType+" nor a CloudEvent")
	}
	if d.TraceParent == "" {
		d.TraceParent, d.TraceState = h.Get(events.HeaderTraceParent), h.Get(events.HeaderTraceState)
	}
	return d, nil
}

// update returns the update for a route, or everything that is wrong with it.
func (d drafted) update(names events.Names, r events.Route) (events.Update, *Problem) {
	u, bad := d.For(names, r)
	if len(bad) > 0 {
		return u, d.invalid(bad)
	}
	return u, nil
}

// invalid says where in the request the fields are.
func (d drafted) invalid(bad []events.FieldProblem) *Problem {
	var fields []FieldError
	for _, b := range bad {
		at := FieldError{Location: d.part, Message: b.Message}
		if at.Location != "" && b.Field != "" {
			at.Location += "."
		}
		at.Location += b.Field
		fields = append(fields, at)
	}
	return invalid(fields...)
}
