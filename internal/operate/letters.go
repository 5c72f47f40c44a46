package operate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Letter is a dead letter with its update.
type Letter struct {
	deadletters.Entry
	ContentType string `json:"content_type,omitempty"`
	// Payload is the content if that is JSON, PayloadBase64 if it is not.
	Payload       json.RawMessage     `json:"payload,omitempty" doc:"The content, if it is JSON"`
	PayloadBase64 string              `json:"payload_base64,omitempty" doc:"The content, if it is not"`
	Header        map[string][]string `json:"header" doc:"Of the message, as it was published"`
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

// A LetterSummary counts what came of an act on many letters.
type LetterSummary struct {
	deadletters.Summary
	Failures []string `json:"failures" doc:"The first of those that failed"`
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

// groupsTime is for how long LetterGroups looks.
const groupsTime = 5 * time.Second

// LetterGroups puts what a filter selects together by why it failed. It fails as Letters does.
func (c *Client) LetterGroups(ctx context.Context, f deadletters.Filter) (deadletters.Groups, error) {
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
	if err != nil {
		return Letter{}, err
	}
	out := Letter{Entry: e, ContentType: e.Update.ContentType, Header: map[string][]string{}}
	if e.Header != nil {
		out.Header = e.Header
	}
	if p := e.Update.Payload; events.IsJSON(out.ContentType) && events.CheckJSON(p) == nil {
		out.Payload = p
	} else {
		out.PayloadBase64 = base64.StdEncoding.EncodeToString(p)
	}
	return out, nil
}

// ActOnLetter replays or discards a dead letter, and records that. It fails as
// deadletters.Replayer does.
func (c *Client) ActOnLetter(ctx context.Context, what LetterAct, n uint64) (LetterResult, error) {
	out := LetterResult{Letter: n}
	store, err := c.DeadLetters(ctx)
	if err != nil {
		return out, err
	}
	e, err := store.Get(ctx, n)
	if err != nil {
		return out, err
	}
	act := auditlog.Act{Action: "dead_letter." + string(what), Target: "channel " + e.Channel, Before: e}
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

// CountLetters returns how many dead letters a filter selects, or deadletters.ErrFilter.
func (c *Client) CountLetters(ctx context.Context, f deadletters.Filter) (int, error) {
	store, err := c.manyLetters(ctx)
	if err != nil {
		return 0, err
	}
	return store.Count(ctx, f)
}

// ActOnLetters replays or discards what a filter selects, with one record of it. progress, if
// not nil, is called as deadletters.Replayer calls it.
func (c *Client) ActOnLetters(ctx context.Context, what LetterAct, f deadletters.Filter, progress func(deadletters.Summary)) (LetterSummary, error) {
	out := LetterSummary{Failures: []string{}}
	store, err := c.DeadLetters(ctx)
	if err != nil {
		return out, err
	}
	do := store.ReplayAll
	if what == Discard {
		do = store.DiscardAll
	}
	act := auditlog.Act{Action: "dead_letters." + string(what), Before: f}
	if f.Channel != "" {
		act.Target = "channel " + f.Channel
	}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		var err error
		out.Summary, err = do(ctx, f, progress)
		return out.Summary, err
	})
	for _, failed := range out.Errors {
		out.Failures = append(out.Failures, words.Of(failed))
	}
	return out, err
}
