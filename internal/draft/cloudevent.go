package draft

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/hms-utl/extsync/pkg/events"
)

// CloudEvent reads a CloudEvent whose attributes are in the body.
func CloudEvent(text []byte) *Draft {
	d := &Draft{}
	d.object(text, d.cloudEventField)
	d.finishCloudEvent()
	return d
}

// cloudEventField takes the attributes that an update has. Others are allowed by
// CloudEvents, and are not carried on.
func (d *Draft) cloudEventField(name string, value json.RawMessage) {
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
			d.Fail(name, "data_base64 is given too")
		}
		if string(value) != "null" {
			d.data, d.hasData = bytes.Clone(value), true
		}
	case "data_base64":
		d.base64(name, "data", value)
	}
}

// finishCloudEvent turns data into the payload: JSON as it is, and the text itself
// where the type is another one.
func (d *Draft) finishCloudEvent() {
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

// Binary reads a CloudEvent whose attributes are in the header.
func Binary(h http.Header, body []byte) *Draft {
	d := &Draft{}
	d.Payload, d.ContentType = body, h.Get("Content-Type")
	d.spec(events.HeaderSpecVersion, h.Get(events.HeaderSpecVersion))
	key, err := url.PathUnescape(h.Get(events.HeaderSubject))
	if err != nil {
		d.Fail(events.HeaderSubject, "it is not percent-encoded")
	}
	d.Key, d.ID, d.Source, d.Type = key, h.Get(events.HeaderID), h.Get(events.HeaderSource), h.Get(events.HeaderType)
	d.Op, d.service = events.Op(h.Get(events.HeaderOp)), h.Get("ce-ackservice")
	d.TraceParent, d.TraceState = h.Get("ce-traceparent"), h.Get("ce-tracestate")
	d.parse(events.HeaderVersion, h.Get(events.HeaderVersion), &d.Version)
	d.parse(events.HeaderBase, h.Get(events.HeaderBase), &d.Base)
	d.parseTime(events.HeaderTime, h.Get(events.HeaderTime))
	d.required()
	return d
}

func (d *Draft) required() {
	for _, a := range []struct{ name, value string }{{"id", d.ID}, {"source", d.Source}, {"type", d.Type}} {
		if a.value == "" {
			d.Fail(a.name, "CloudEvents requires it")
		}
	}
}

func (d *Draft) spec(name, version string) {
	d.specified = true
	if version != "1.0" {
		d.Fail(name, "it is not 1.0")
	}
}
