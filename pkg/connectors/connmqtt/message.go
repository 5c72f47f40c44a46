package connmqtt

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/packets"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// The user properties of a message are the attributes of CloudEvents under the names that its
// MQTT binding has. All are texts: versions go beyond what a float holds, and may be times.
const (
	propKey     = "subject"
	propVersion = "entityversion"
	propDigest  = "entitydigest"
	propOp      = "op"
	propBase    = "baseversion"
	propSpec    = "specversion"
	propID      = "id"
	propSource  = "source"
	propType    = "type"
	propTime    = "time"

	propTraceParent = "traceparent"
	propTraceState  = "tracestate"
)

const (
	// atLeastOnce is the QoS of messages and of subscriptions.
	atLeastOnce = 1
	// mostText bounds a text of MQTT, mostPacket a packet without its first bytes.
	mostText   = 65535
	mostPacket = 268435455

	jsonType = "application/json"
)

const (
	codeEmpty    = "empty"
	codeTooLarge = "too_large"
	codeText     = "text"
)

var (
	errEmpty = errors.New("a retained message without content would remove the one that is there, so an update must have content")
	errText  = errors.New("an attribute of the update or its content type has characters, or a length, that MQTT does not carry")
	errLarge = errors.New("the message is larger than the broker, or MQTT, takes")
)

// A tombstone is the content of a deleted key's message.
type tombstone struct {
	Key string `json:"key"`
	versioning.Tag
	Op events.Op `json:"op"`
}

// message returns what an attempt is sent as. The error has a code.
func (c *Config) message(a *connectors.Attempt) (*packets.Publish, *connectors.Error) {
	m := &packets.Publish{Topic: c.topicOf(a.Key), QoS: atLeastOnce, Retain: true, Payload: a.Payload}
	m.Properties = &packets.Properties{ContentType: a.ContentType}
	if a.Op == events.Delete {
		m.Payload, m.Properties.ContentType = nil, ""
		if c.OnDelete == tombstoneOnDelete {
			tag := versioning.Tag{Version: a.Version, Digest: a.Digest}
			m.Payload, _ = json.Marshal(tombstone{a.Key, tag, a.Op}) // texts only
			m.Properties.ContentType = jsonType
		}
	} else if len(a.Payload) == 0 {
		return nil, &connectors.Error{Class: connectors.Permanent, Code: codeEmpty, Err: errEmpty}
	}
	m.Properties.User = make([]packets.User, 0, 12)
	add := func(name, value string) {
		if value != "" {
			m.Properties.User = append(m.Properties.User, packets.User{Key: name, Value: value})
		}
	}
	add(propSpec, "1.0")
	add(propID, a.ID)
	add(propSource, a.Source)
	add(propType, a.Type)
	add(propKey, escape(a.Key))
	add(propVersion, a.Version.String())
	add(propDigest, a.Digest.String())
	add(propOp, string(a.Op))
	add(propBase, a.Base.String())
	add(propTraceParent, a.TraceParent)
	add(propTraceState, a.TraceState)
	if !a.Time.IsZero() {
		add(propTime, a.Time.UTC().Format(time.RFC3339Nano))
	}
	if !carried(m.Properties.ContentType) {
		return nil, &connectors.Error{Class: connectors.Permanent, Code: codeText, Err: errText}
	}
	for _, p := range m.Properties.User {
		if !carried(p.Value) {
			return nil, &connectors.Error{Class: connectors.Permanent, Code: codeText, Err: errText}
		}
	}
	return m, nil
}

// tooLarge reports whether a message is larger than most bytes, 0 for no bound but that of
// MQTT, as the broker counts: with all that is around it.
func tooLarge(m *packets.Publish, most uint32) bool {
	if most == 0 || most > mostPacket {
		most = mostPacket
	}
	const lengths = 4 + 4 // of the packet and of the properties, at most
	size := 1 + lengths + 2 + len(m.Topic) + 2 + 3 + len(m.Properties.ContentType) + len(m.Payload)
	for _, p := range m.Properties.User {
		size += 5 + len(p.Key) + len(p.Value)
	}
	switch {
	case size <= int(most):
		return false
	case size > int(most)+lengths:
		return true
	}
	rest := 0
	for _, b := range m.Buffers() {
		rest += len(b)
	}
	length := 1
	for n := rest; n > 127; n >>= 7 {
		length++
	}
	return 1+length+rest > int(most)
}

// carried reports whether MQTT carries a text as it is. Brokers end the connection for a
// control character (MQTT 5, 1.5.4).
func carried(text string) bool {
	if len(text) > mostText || !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if !inText(r) {
			return false
		}
	}
	return true
}

// inText reports whether a text of MQTT may have this character.
func inText(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r <= 0x9f: // control characters
		return false
	case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe: // no characters at all
		return false
	default:
		return true
	}
}

// escape returns a key as MQTT carries it, another text for each: % and the bytes of
// characters that it does not carry are % and two hexadecimal digits.
func escape(key string) string {
	if carried(key) && !strings.Contains(key, "%") {
		return key
	}
	var out strings.Builder
	for i := 0; i < len(key); {
		r, n := utf8.DecodeRuneInString(key[i:])
		if r == '%' || !inText(r) || r == utf8.RuneError && n == 1 {
			for _, b := range []byte(key[i : i+n]) {
				fmt.Fprintf(&out, "%%%02X", b)
			}
		} else {
			out.WriteString(key[i : i+n])
		}
		i += n
	}
	return out.String()
}

// heldOf returns what a message says that is held of its key; it is zero if the message does
// not say so, as one that somebody else has sent.
func heldOf(properties []packets.User, payload []byte) connectors.Held {
	var held connectors.Held
	if len(payload) == 0 { // which a broker sends when it has removed a message
		return held
	}
	for _, p := range properties {
		switch p.Key {
		case propVersion:
			v, err := versioning.Parse(p.Value)
			if err != nil {
				return connectors.Held{}
			}
			held.Version = v
		case propDigest:
			if held.Digest.UnmarshalText([]byte(p.Value)) != nil {
				return connectors.Held{}
			}
		case propOp:
			held.Op = events.Op(p.Value)
		}
	}
	if held.Version.IsZero() || held.Op != events.Upsert && held.Op != events.Delete {
		return connectors.Held{}
	}
	return held
}
