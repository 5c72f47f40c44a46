// Package draft reads an update that somebody wrote down: as JSON, in a request or in a line
// of many, or as a CloudEvent. It says everything that is wrong with it at once.
package draft

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A Draft is an update while it is read.
type Draft struct {
	events.Update
	// Channels are where it is to be published, if it says so.
	Channels []string
	// Refs are what is to be remembered of its key.
	Refs events.Refs

	form      form
	service   string
	hasData   bool
	data      json.RawMessage // of a CloudEvent: what it is depends on its type
	bad       []events.FieldProblem
	unread    bool // it is no JSON object: what it says is not known
	specified bool
}

// A form says which fields there are besides those of every update.
type form uint8

const (
	request form = iota
	line
)

// Request reads the JSON of a request, or of a line of one.
func Request(text []byte) *Draft { return read(text, request) }

// Line reads a line of a file. It may have refs.
func Line(text []byte) *Draft { return read(text, line) }

func read(text []byte, f form) *Draft {
	d := &Draft{form: f}
	d.object(text, d.field)
	return d
}

// Fail adds to what is wrong.
func (d *Draft) Fail(field, format string, args ...any) {
	d.bad = append(d.bad, events.FieldProblem{Field: field, Message: fmt.Sprintf(format, args...)})
}

// Problems returns what was wrong with single fields so far. The field of what concerns the
// whole is "".
func (d *Draft) Problems() []events.FieldProblem { return d.bad }

// object reads a JSON object field by field. Fields that come twice are refused:
// who would know which one was meant?
func (d *Draft) object(body []byte, field func(name string, value json.RawMessage)) {
	fail := func(format string, args ...any) {
		d.unread = true
		d.Fail("", format, args...)
	}
	// Before anything is decoded: a decoder puts U+FFFD for what is not UTF-8, and two
	// keys become one.
	if err := events.CheckJSON(body); err != nil {
		fail("%v", err)
		return
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		fail("it is not a JSON object")
		return
	}
	seen := make(map[string]bool, 8)
	for dec.PeekKind() != '}' {
		t, err := dec.ReadToken()
		name := t.String()
		value, verr := dec.ReadValue() // the decoder's, until it is asked again
		if err != nil || verr != nil {
			fail("it is not valid JSON")
			return
		}
		if seen[name] {
			d.Fail(connectors.Clip(strings.ToValidUTF8(name, "?"), 80), "it is there twice")
			continue
		}
		seen[name] = true
		field(name, json.RawMessage(value))
	}
}

// attribute takes the fields that have the same name in our JSON and in a
// CloudEvent, and reports whether it was one of them.
func (d *Draft) attribute(name string, value json.RawMessage) bool {
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

func (d *Draft) field(name string, value json.RawMessage) {
	if d.attribute(name, value) {
		return
	}
	switch name {
	case "channels":
		if json.Unmarshal(value, &d.Channels) != nil || d.Channels == nil {
			d.Fail(name, "it is not a list of texts")
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
			d.Fail(name, "payload_base64 is given too")
		}
		if string(value) != "null" {
			d.Payload, d.hasData = bytes.Clone(value), true
		}
	case "payload_base64":
		d.base64(name, "payload", value)
	case "content_type":
		d.text(name, value, &d.ContentType)
	case "ack_service":
		d.text(name, value, &d.service)
	case "refs":
		d.refs(name, value)
	default:
		d.Fail(connectors.Clip(strings.ToValidUTF8(name, "?"), 80), "there is no such field")
	}
}

func (d *Draft) text(name string, value json.RawMessage, into *string) {
	if len(value) == 0 || value[0] != '"' {
		d.Fail(name, "it is not a text")
		return
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		d.Fail(name, "it is not a text")
		return
	}
	*into = string(text)
}

func (d *Draft) version(name string, value json.RawMessage, into *versioning.Version) {
	if err := into.UnmarshalJSON(value); err != nil {
		d.Fail(name, "%v", err)
	}
}

func (d *Draft) parse(name, text string, into *versioning.Version) {
	if err := into.UnmarshalText([]byte(text)); err != nil {
		d.Fail(name, "%v", err)
	}
}

func (d *Draft) time(name string, value json.RawMessage) {
	var s string
	d.text(name, value, &s)
	d.parseTime(name, s)
}

func (d *Draft) parseTime(name, text string) {
	if text == "" {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		d.Fail(name, "it is not an RFC 3339 time")
		return
	}
	d.Time = at
}

func (d *Draft) base64(name, other string, value json.RawMessage) {
	var s string
	d.text(name, value, &s)
	payload, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		d.Fail(name, "it is not base64 with padding")
	}
	if d.hasData {
		d.Fail(name, "%s is given too", other)
	}
	d.Payload, d.hasData = payload, true
}

func (d *Draft) refs(name string, value json.RawMessage) {
	if d.form != line {
		d.Fail(name, "there is no such field")
		return
	}
	if json.Unmarshal(value, &d.Refs) != nil {
		d.Fail(name, "it is not an object of texts")
		return
	}
	if err := d.Refs.Check(); err != nil {
		d.Fail(name, "%v", err)
	}
}

// For returns the update for a channel or topic, or everything that is wrong with it. The
// field of what concerns the whole is "".
func (d *Draft) For(names events.Names, r events.Route) (events.Update, []events.FieldProblem) {
	if d.unread {
		return d.Update, d.bad
	}
	u := d.Update
	bad := slices.Clone(d.bad)
	fail := func(field, message string) {
		bad = append(bad, events.FieldProblem{Field: field, Message: message})
	}
	if u.Channel != "" && u.Channel != r.Channel() {
		fail("channel", "it is not the channel of the "+d.form.where())
	}
	u.Channel, u.Topic = r.Channel(), r.Topic()
	if d.service != "" {
		var err error
		if u.ReplyTo, err = names.ServiceAck(d.service, uuid.NewString()); err != nil {
			fail("ack_service", err.Error())
		}
	}
	u = u.WithDefaults()
	if err := u.CheckPayload(); err != nil {
		fail("payload", strings.TrimPrefix(err.Error(), events.ErrInvalidUpdate.Error()+": payload: "))
	}
	for _, p := range u.Problems() {
		field := strings.ReplaceAll(p.Field, " ", "_")
		if !slices.ContainsFunc(bad, func(b events.FieldProblem) bool { return b.Field == field }) { // said already
			fail(field, p.Message)
		}
	}
	return u, bad
}

// where names what says the channel.
func (f form) where() string {
	if f == line {
		return "command"
	}
	return "address"
}
