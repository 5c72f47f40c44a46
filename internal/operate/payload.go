package operate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/contents"
	"github.com/hms-utl/extsync/internal/redact"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Content is what people are shown of the content of an update.
type Content struct {
	ContentType string `json:"content_type,omitempty"`
	// Payload is the content if that is JSON, PayloadBase64 if it is not.
	Payload       json.RawMessage `json:"payload,omitempty" doc:"The content, if it is JSON"`
	PayloadBase64 string          `json:"payload_base64,omitempty" doc:"The content, if it is not"`
	Bytes         int             `json:"bytes" doc:"That the whole content has"`
	Clipped       bool            `json:"clipped" doc:"The content is larger than an answer: texts in it are shortened, or its end is left out"`
	Hidden        []string        `json:"hidden" doc:"The fields whose values the channel hides; . is the whole content"`
}

// Payload is the newest update of a key that a channel's stream has.
type Payload struct {
	Channel   string             `json:"channel"`
	Key       string             `json:"key"`
	Version   versioning.Version `json:"version,omitzero"`
	Op        events.Op          `json:"op,omitempty"`
	Published time.Time          `json:"published,omitzero" doc:"When the broker stored it"`
	Malformed string             `json:"malformed,omitempty" doc:"Why what was published is no update; none if it is"`
	Content
}

// mostShown bounds the content in an answer, in bytes: no person reads more of it at once.
const mostShown = 1 << 20

// room is how many bytes of content an answer may have: a gateway gets it in one message.
func (c *Client) room() int { return int(min(c.Conn.MaxPayload()/2, mostShown)) }

// show returns what people are shown of a content, hidden being what they are not to see.
func show(contentType string, payload []byte, hidden []string, room int) Content {
	out := Content{ContentType: contentType, Bytes: len(payload), Hidden: []string{}}
	switch isJSON := events.IsJSON(contentType) && events.CheckJSON(payload) == nil; {
	case len(payload) == 0:
	case isJSON:
		shown, without := redact.Apply(payload, hidden)
		out.Hidden = append(out.Hidden, without...)
		if out.Payload, out.Clipped = contents.Clip(shown, room); out.Payload == nil && len(without) == 0 {
			out.PayloadBase64 = base64.StdEncoding.EncodeToString(payload[:min(len(payload), room)])
		}
	case len(hidden) > 0: // where its fields are nobody knows
		out.Hidden = append(out.Hidden, redact.Whole)
	default:
		out.Clipped = len(payload) > room
		out.PayloadBase64 = base64.StdEncoding.EncodeToString(payload[:min(len(payload), room)])
	}
	return out
}

// ErrNotKept says that the content of a key's newest version is nowhere at the broker.
var ErrNotKept = errors.New("a channel of mode \"every\" keeps no update once it is settled")

// Payload returns the newest update of a key in a channel, and records that somebody has
// seen it: without the record nothing is shown. It fails with channels.ErrNotFound, with
// ErrUnknownKey, or with ErrNotKept.
func (c *Client) Payload(ctx context.Context, channel, key string) (Payload, error) {
	out := Payload{Channel: channel, Key: key, Content: Content{Hidden: []string{}}}
	entries, err := c.channels(ctx, channel)
	if err != nil {
		return out, err
	}
	e := entries[0]
	msg, err := c.newest(ctx, e, key)
	if err != nil {
		return out, err
	}
	err = c.looking(ctx, channel, key, func(context.Context) error {
		out.Published = msg.Time.UTC()
		u, err := wire.Decode(c.Names, msg.Subject, msg.Header, msg.Data)
		if err != nil {
			out.Malformed = err.Error()
			out.Content = show("application/octet-stream", msg.Data, e.Config.Redact, c.room())
			return nil
		}
		out.Version, out.Op = u.Version, u.Op
		out.Content = show(u.ContentType, u.Payload, e.Config.Redact, c.room())
		return nil
	})
	if err != nil {
		return Payload{}, err
	}
	return out, nil
}

// looking does something that shows contents of a key, and records it: before, or it is not
// done, and afterwards, or nothing is shown.
func (c *Client) looking(ctx context.Context, channel, key string, look func(context.Context) error) error {
	act := auditlog.Act{Action: "payload.read", Target: "channel " + channel, After: ofKey(key)}
	return c.Act(ctx, act, func(ctx context.Context) (any, error) { return nil, look(ctx) })
}

// newest returns the newest message of a key that a channel takes.
func (c *Client) newest(ctx context.Context, e channels.Entry, key string) (msg *jetstream.RawStreamMsg, err error) {
	name := e.Config.Name
	if _, err := events.EncodeKey(key); err != nil {
		return nil, fmt.Errorf("%w: key: %w", events.ErrInvalidUpdate, err)
	}
	if !e.Config.Takes(key) {
		return nil, notTaken(ErrUnknownKey, []channels.Entry{e}, key)
	}
	err = c.ForChannel(ctx, name, func(ctx context.Context) (err error) {
		msg, err = c.lastOf(ctx, e.Config.Route(), key)
		return err
	})
	if err != nil || msg != nil {
		return msg, err
	}
	found, err := c.Find(ctx, key, name)
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: channel %s has settled version %s of %q", ErrNotKept, name, found[0].Newest.Version, key)
}
