package connamqp

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// The headers of a message are the attributes of CloudEvents under the names that its AMQP
// binding has. All are texts: versions go beyond what a float holds, and may be times.
const (
	headerKey     = "cloudEvents_subject"
	headerVersion = "cloudEvents_entityversion"
	headerDigest  = "cloudEvents_entitydigest"
	headerOp      = "cloudEvents_op"
	headerBase    = "cloudEvents_baseversion"
	headerSpec    = "cloudEvents_specversion"
	headerID      = "cloudEvents_id"
	headerSource  = "cloudEvents_source"
	headerType    = "cloudEvents_type"
	headerTime    = "cloudEvents_time"

	headerTraceParent = "traceparent"
	headerTraceState  = "tracestate"
)

// mostShort bounds a short string of AMQP, in bytes. The library ends a connection on which a
// longer one was to be sent.
const mostShort = 255

var (
	errContentType = fmt.Errorf("the content type has more than the %d bytes that AMQP takes", mostShort)
	errHeaders     = errors.New("the attributes of the update have more bytes than the broker takes in a frame")
)

// message returns what an attempt is sent as.
func message(a *connectors.Attempt) amqp.Publishing {
	headers := amqp.Table{}
	for _, h := range [...]struct{ name, value string }{
		{headerSpec, "1.0"},
		{headerID, a.ID},
		{headerSource, a.Source},
		{headerType, a.Type},
		{headerKey, a.Key},
		{headerVersion, a.Version.String()},
		{headerDigest, a.Digest.String()},
		{headerOp, string(a.Op)},
		{headerBase, a.Base.String()},
		{headerTraceParent, a.TraceParent},
		{headerTraceState, a.TraceState},
	} {
		if h.value != "" {
			headers[h.name] = h.value
		}
	}
	m := amqp.Publishing{
		Headers: headers, MessageId: messageID(a), DeliveryMode: amqp.Persistent, ContentType: a.ContentType, Body: a.Payload,
	}
	if !a.Time.IsZero() {
		headers[headerTime] = a.Time.UTC().Format(time.RFC3339Nano)
		m.Timestamp = a.Time // in whole seconds
	}
	return m
}

// messageID returns the id by which a consumer recognises a message that was sent twice: the
// update's. A replay has one that was never used, or the consumer would take it for that.
func messageID(a *connectors.Attempt) string {
	id := a.ID
	if a.Again {
		id += "/again/" + rand.Text()
	}
	if len(id) <= mostShort {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// tooLong says what of a message does not fit into the frames of the broker, nil if all does.
func tooLong(m *amqp.Publishing, frame int) error {
	if len(m.ContentType) > mostShort {
		return errContentType
	}
	size := 1024 // more than all that is not counted
	for name, value := range m.Headers {
		size += len(name) + len(value.(string)) + 8
	}
	if frame > 0 && size > frame {
		return errHeaders
	}
	return nil
}

// routingKey returns the routing key of an update. The name of a key is one word of it, and
// with the longest routing_key a short string.
func (c *Config) routingKey(key string) string {
	if !c.AppendKey {
		return c.RoutingKey
	}
	return c.RoutingKey + connkit.KeyName(key, true)
}
