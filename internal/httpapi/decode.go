package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
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

// A draft is an update while it is read: what is wrong with it is collected.
type draft struct {
	events.Update
	channels  []string
	service   string
	hasData   bool
	data      json.RawMessage // of a CloudEvent: what it is depends on its type
	prefix    string
	bad       []FieldError
	unread    bool // it is no JSON object: what it says is not known
	specified bool
}

func (d *draft) fail(field, format string, args ...any) {
	d.bad = append(d.bad, FieldError{Location: d.prefix + field, Message: fmt.Sprintf(format, args...)})
}

// decodeRequest reads the update of a request: our JSON, or a CloudEvent in
// either mode.
func decodeRequest(h http.Header, body []byte) (*draft, *Problem) {
	contentType := h.Get("Content-Type")
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, problem(http.StatusUnsupportedMediaType, "media_type", "give a Content-Type: "+jsonType+", "+cloudEventType+", or that of the payload of a CloudEvent in binary mode")
	}
	d := &draft{prefix: "body."}
	switch {
	case h.Get(events.HeaderSpecVersion) != "":
		d.prefix = "header."
		d.binary(h, body)
	case media == cloudEventType:
		d.object(body, d.cloudEventField)
		d.finishCloudEvent()
	case media == jsonType:
		d.object(body, d.field)
	default:
		return nil, problem(http.StatusUnsupportedMediaType, "media_type", "neither "+jsonType+" nor a CloudEvent")
	}
	if d.TraceParent == "" {
		d.TraceParent, d.TraceState = h.Get(events.HeaderTraceParent), h.Get(events.HeaderTraceState)
	}
	return d, nil
}

// object reads a JSON object field by field. Fields that come twice are refused:
// who would know which one was meant?
func (d *draft) object(body []byte, field func(name string, value json.RawMessage)) {
	whole := strings.TrimSuffix(d.prefix, ".")
	fail := func(format string, args ...any) {
		d.unread = true
		d.bad = append(d.bad, FieldError{Location: whole, Message: fmt.Sprintf(format, args...)})
	}
	// Before anything is decoded: a decoder puts U+FFFD for what is not UTF-8, and two
	// keys become one.
	if err := events.CheckJSON(body); err != nil {
		fail("%v", err)
		return
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		fail("it is not a JSON object")
		return
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			fail("it is not valid JSON")
			return
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			fail("it is not valid JSON")
			return
		}
		if seen[name] {
			d.fail(clip(name), "it is there twice")
			continue
		}
		seen[name] = true
		field(name, value)
	}
}

// attribute takes the fields that have the same name in our JSON and in a
// CloudEvent, and reports whether it was one of them.
func (d *draft) attribute(name string, value json.RawMessage) bool {
	switch name {
	case "op":
		d.text(name, value, (*string)(&d.Op))
	case "id":
		d.text(name, value, &d.ID)
	case "source":
		d.text(name, value, &d.Source)
	case "type":
		d.text(name, value, &d.Type)
	case "time":
		d.time(name, value)
	default:
		return false
	}
	return true
}

func (d *draft) field(name string, value json.RawMessage) {
	if d.attribute(name, value) {
		return
	}
	switch name {
	case "channels":
		if json.Unmarshal(value, &d.channels) != nil || d.channels == nil {
			d.fail(name, "it is not a list of texts")
		}
	case "channel":
		d.text(name, value, &d.Channel)
	case "key":
		d.text(name, value, &d.Key)
	case "version":
		d.version(name, value, &d.Version)
	case "base":
		d.version(name, value, &d.Base)
	case "payload":
		if d.hasData {
			d.fail(name, "payload_base64 is given too")
		}
		if string(value) != "null" {
			d.Payload, d.hasData = value, true
		}
	case "payload_base64":
		d.base64(name, "payload", value)
	case "content_type":
		d.text(name, value, &d.ContentType)
	case "ack_service":
		d.text(name, value, &d.service)
	default:
		d.fail(clip(name), "there is no such field")
	}
}

// cloudEventField takes the attributes that an update has. Others are allowed by
// CloudEvents, and are not carried on.
func (d *draft) cloudEventField(name string, value json.RawMessage) {
	if d.attribute(name, value) {
		return
	}
	switch name {
	case "specversion":
		var v string
		d.text(name, value, &v)
		d.spec(name, v)
	case "subject":
		d.text(name, value, &d.Key)
	case "entityversion":
		d.version(name, value, &d.Version)
	case "baseversion":
		d.version(name, value, &d.Base)
	case "datacontenttype":
		d.text(name, value, &d.ContentType)
	case "ackservice":
		d.text(name, value, &d.service)
	case "traceparent":
		d.text(name, value, &d.TraceParent)
	case "tracestate":
		d.text(name, value, &d.TraceState)
	case "data":
		if d.hasData {
			d.fail(name, "data_base64 is given too")
		}
		if string(value) != "null" {
			d.data, d.hasData = value, true
		}
	case "data_base64":
		d.base64(name, "data", value)
	}
}

// finishCloudEvent turns data into the payload: JSON as it is, and the text itself
// where the type is another one.
func (d *draft) finishCloudEvent() {
	if !d.specified {
		d.spec("specversion", "")
	}
	d.required()
	if d.data == nil {
		return
	}
	d.Payload = d.data
	var text string
	if !events.IsJSON(d.ContentType) && json.Unmarshal(d.data, &text) == nil {
		d.Payload = []byte(text)
	}
}

// binary reads a CloudEvent whose attributes are in the header.
func (d *draft) binary(h http.Header, body []byte) {
	d.Payload, d.ContentType = body, h.Get("Content-Type")
	d.spec(events.HeaderSpecVersion, h.Get(events.HeaderSpecVersion))
	key, err := url.PathUnescape(h.Get(events.HeaderSubject))
	if err != nil {
		d.fail(events.HeaderSubject, "it is not percent-encoded")
	}
	d.Key, d.ID, d.Source, d.Type = key, h.Get(events.HeaderID), h.Get(events.HeaderSource), h.Get(events.HeaderType)
	d.Op, d.service = events.Op(h.Get(events.HeaderOp)), h.Get("ce-ackservice")
	d.TraceParent, d.TraceState = h.Get("ce-traceparent"), h.Get("ce-tracestate")
	d.parse(events.HeaderVersion, h.Get(events.HeaderVersion), &d.Version)
	d.parse(events.HeaderBase, h.Get(events.HeaderBase), &d.Base)
	d.parseTime(events.HeaderTime, h.Get(events.HeaderTime))
	d.required()
}

func (d *draft) required() {
	for _, a := range []struct{ name, value string }{{"id", d.ID}, {"source", d.Source}, {"type", d.Type}} {
		if a.value == "" {
			d.fail(a.name, "CloudEvents requires it")
		}
	}
}

func (d *draft) spec(name, version string) {
	d.specified = true
	if version != "1.0" {
		d.fail(name, "it is not 1.0")
	}
}

func (d *draft) text(name string, value json.RawMessage, into *string) {
	var s *string
	if err := json.Unmarshal(value, &s); err != nil || s == nil {
		d.fail(name, "it is not a text")
		return
	}
	*into = *s
}

func (d *draft) version(name string, value json.RawMessage, into *versioning.Version) {
	if err := into.UnmarshalJSON(value); err != nil {
		d.fail(name, "%v", err)
	}
}

func (d *draft) parse(name, text string, into *versioning.Version) {
	if err := into.UnmarshalText([]byte(text)); err != nil {
		d.fail(name, "%v", err)
	}
}

func (d *draft) time(name string, value json.RawMessage) {
	var s string
	d.text(name, value, &s)
	d.parseTime(name, s)
}

func (d *draft) parseTime(name, text string) {
	if text == "" {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		d.fail(name, "it is not an RFC 3339 time")
		return
	}
	d.Time = at
}

func (d *draft) base64(name, other string, value json.RawMessage) {
	var s string
	d.text(name, value, &s)
	payload, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		d.fail(name, "it is not base64 with padding")
	}
	if d.hasData {
		d.fail(name, "%s is given too", other)
	}
	d.Payload, d.hasData = payload, true
}

// update returns the update for a channel, or everything that is wrong with it.
func (d *draft) update(names events.Names, channel string) (events.Update, *Problem) {
	if d.unread {
		return d.Update, invalid(d.bad...)
	}
	u := d.Update
	bad := append([]FieldError(nil), d.bad...)
	if u.Channel != "" && u.Channel != channel {
		bad = append(bad, FieldError{Location: d.prefix + "channel", Message: "it is not the channel of the address"})
	}
	u.Channel = channel
	if d.service != "" {
		var err error
		if u.ReplyTo, err = names.ServiceAck(d.service, uuid.NewString()); err != nil {
			bad = append(bad, FieldError{Location: d.prefix + "ack_service", Message: err.Error()})
		}
	}
	u = u.WithDefaults()
	if err := u.CheckPayload(); err != nil {
		bad = append(bad, FieldError{Location: d.prefix + "payload", Message: strings.TrimPrefix(err.Error(), events.ErrInvalidUpdate.Error()+": payload: ")})
	}
	for _, p := range u.Problems() {
		where := d.prefix + strings.ReplaceAll(p.Field, " ", "_")
		if !slices.ContainsFunc(bad, func(f FieldError) bool { return f.Location == where }) { // said already
			bad = append(bad, FieldError{Location: where, Message: p.Message})
		}
	}
	if len(bad) > 0 {
		return u, invalid(bad...)
	}
	return u, nil
}

// clip bounds a text from outside before it goes into an answer.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 80)], "?") }
