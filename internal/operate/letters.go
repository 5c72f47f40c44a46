package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/redact"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Letter is a dead letter without its content.
type Letter struct {
	deadletters.Entry
	ContentType string `json:"content_type,omitempty"`
}

// A LetterContent is a dead letter with the content of its update, as people may see it.
type LetterContent struct {
	Letter
	// Payload is the content if that is JSON, PayloadBase64 if it is not.
	Payload       json.RawMessage     `json:"payload,omitempty" doc:"The content, if it is JSON"`
	PayloadBase64 string              `json:"payload_base64,omitempty" doc:"The content, if it is not"`
	Bytes         int                 `json:"bytes" doc:"That the whole content has"`
	Clipped       bool                `json:"clipped" doc:"The content is larger than an answer: texts in it are shortened, or its end is left out"`
	Header        map[string][]string `json:"header" doc:"Of the message, as it was published"`
	Hidden        []string            `json:"hidden" doc:"The paths of what the channel hides; a dot: all of it"`
}

// A LetterPage is a page of dead letters, the oldest first.
type LetterPage struct {
	Letters []deadletters.Entry `json:"letters"`
	Next    uint64              `json:"next,omitempty" doc:"The cursor of the next page; none: this was the last"`
}

// A LetterAct is something that is done to dead letters.
type LetterAct string

// The acts.
const (
	Replay  LetterAct = "replay"  // have a worker send its update again
	Discard LetterAct = "discard" // give it up for good
)

// A LetterResult is what came of an act on one letter.
type LetterResult struct {
	Letter    uint64 `json:"letter"`
	Discarded bool   `json:"discarded,omitempty"`
	deadletters.Result
}

// String says it for people.
func (r *LetterResult) String() string {
	if r.Discarded {
		return "discarded"
	}
	return r.Result.String()
}

// Letters returns a page of dead letters. It fails with deadletters.ErrFilter, and with
// channels.ErrNotFound where there is none of a channel that does not exist.
func (c *Client) Letters(ctx context.Context, f deadletters.Filter, limit int, cursor uint64) (LetterPage, error) {
	out := LetterPage{Letters: []deadletters.Entry{}}
	store, err := c.DeadLetters(ctx)
	if err != nil {
		return out, err
	}
	page, err := store.List(ctx, f, limit, cursor)
	if err != nil {
		return out, err
	}
	if len(page.Entries) == 0 && f.Channel != "" { // a name that is misspelt has no letters either
		if _, err := c.channels(ctx, f.Channel); err != nil {
			return out, err
		}
	}
	out.Letters, out.Next = append(out.Letters, page.Entries...), page.Next
	return out, nil
}

// groupsTime is for how long LetterGroups looks, groupsAtOnce how many do so in this process: each
// holds the time of every letter that it has seen, and reads as fast as the broker gives.
const (
	groupsTime   = 5 * time.Second
	groupsAtOnce = 2
)

// LetterGroups puts what a filter selects together by why it failed. It fails as Letters does.
func (c *Client) LetterGroups(ctx context.Context, f deadletters.Filter) (deadletters.Groups, error) {
	if err := c.grouping.Acquire(ctx, 1); err != nil {
		return deadletters.Groups{}, fmt.Errorf("%w: others have letters grouped: %w", events.ErrUnavailable, err)
	}
	defer c.grouping.Release(1)
	store, err := c.manyLetters(ctx)
	if err != nil {
		return deadletters.Groups{}, err
	}
	out, err := store.Groups(ctx, f, groupsTime)
	if err == nil && out.Looked == 0 && f.Channel != "" { // a name that is misspelt has no letters either
		_, err = c.channels(ctx, f.Channel)
	}
	return out, err
}

// manyLetters is DeadLetters for who reads many of them.
func (c *Client) manyLetters(ctx context.Context) (*deadletters.Store, error) {
	store, err := c.DeadLetters(ctx)
	if err != nil {
		return nil, err
	}
	access, err := broker.ReadAccess(ctx, c.Conn)
	if err == nil && access.Publish.Has("$JS.API.>") {
		return store.Faster(), nil
	}
	return store.Store, nil
}

// Letter returns a dead letter, or deadletters.ErrNotFound.
func (c *Client) Letter(ctx context.Context, n uint64) (Letter, error) {
	store, err := c.DeadLetters(ctx)
	if err != nil {
		return Letter{}, err
	}
	e, err := store.Get(ctx, n)
	return Letter{Entry: e, ContentType: e.Update.ContentType}, err
}

// LetterContent returns a dead letter with its content, and records that it was looked at.
// What the channel hides is hidden.
func (c *Client) LetterContent(ctx context.Context, l Letter) (LetterContent, error) {
	out := LetterContent{Letter: l, Header: map[string][]string{}, Hidden: []string{}}
	if l.Header != nil {
		out.Header = l.Header
	}
	act := auditlog.Act{Action: "payload.read", Target: "channel " + l.Channel, Before: map[string]any{"letter": l.Sequence, "key": l.Key, "version": l.Version}}
	err := c.Act(ctx, act, func(ctx context.Context) (any, error) { return nil, c.showLetter(ctx, &out) })
	return out, err
}

// showLetter fills in the content of a letter, but for what its channel hides. Where the
// channel is not there to say so, all of it is hidden.
func (c *Client) showLetter(ctx context.Context, out *LetterContent) error {
	out.Bytes = len(out.Update.Payload)
	registry, err := c.Registry(ctx)
	if err != nil {
		return err
	}
	e, err := registry.Get(ctx, out.Channel)
	if channelGone(err) {
		out.Hidden = []string{redact.Whole}
		return nil
	}
	if err != nil {
		return err
	}
	shown := show(out.ContentType, out.Update.Payload, e.Config.Redact, c.room())
	out.Payload, out.PayloadBase64, out.Clipped, out.Hidden = shown.Payload, shown.PayloadBase64, shown.Clipped, shown.Hidden
	return nil
}

// ActOnLetter replays or discards a dead letter, and records that with the reason. It fails as
// deadletters.Replayer does.
func (c *Client) ActOnLetter(ctx context.Context, what LetterAct, e deadletters.Entry, reason string) (LetterResult, error) {
	n := e.Sequence
	out := LetterResult{Letter: n}
	store, err := c.DeadLetters(ctx)
	if err != nil {
		return out, err
	}
	act := auditlog.Act{Action: "dead_letter." + string(what), Target: "channel " + e.Channel, Reason: reason, Before: e}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		if what == Discard {
			err := store.Discard(ctx, n)
			out.Discarded = err == nil
			return out, err
		}
		var err error
		out.Result, err = store.Replay(ctx, n)
		return out, err
	})
	return out, err
}
