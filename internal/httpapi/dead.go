package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
)

// deadTimeout bounds an act on many dead letters; what is left is done by
// repeating it.
const deadTimeout = 50 * time.Second

// A DeadFilter selects dead letters.
type DeadFilter struct {
	Channel string    `query:"channel" maxLength:"63"`
	Key     string    `query:"key" maxLength:"1024" doc:"Needs channel"`
	Outcome string    `query:"outcome" enum:"dead_lettered,conflict"`
	Class   string    `query:"class" maxLength:"40"`
	Code    string    `query:"code" maxLength:"100"`
	After   time.Time `query:"after" doc:"Stored then or later"`
	Before  time.Time `query:"before" doc:"Stored earlier"`
	State   string    `query:"state" enum:"open,pending,resolved,any" doc:"Default: open"`
}

func (f *DeadFilter) filter(ctx context.Context) (deadletters.Filter, error) {
	out := deadletters.Filter{
		Channel: f.Channel, Key: f.Key, Outcome: events.Outcome(f.Outcome), Class: f.Class, Code: f.Code,
		After: f.After, Before: f.Before, State: deadletters.State(f.State),
	}
	if f.State == "any" {
		out.State, out.AnyState = "", true
	}
	c := callerOf(ctx)
	if f.Channel == "" && c.limited() {
		return out, forbidden("the token is limited to channels: name one of them")
	}
	if f.Channel != "" && !c.allows(f.Channel) {
		return out, forbidden("the token is not for this channel")
	}
	return out, nil
}

// DeadLetter is a dead letter with its payload.
type DeadLetter struct {
	deadletters.Entry
	Payload       json.RawMessage `json:"payload,omitempty" doc:"If it is JSON"`
	PayloadBase64 string          `json:"payload_base64,omitempty" doc:"If it is not"`
	ContentType   string          `json:"content_type,omitempty"`
}

type deadListInput struct {
	DeadFilter
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor uint64 `query:"cursor" doc:"Of the page before"`
}

type deadListOutput struct{ Body deadletters.Page }

type deadInput struct {
	Sequence uint64 `path:"sequence" minimum:"1"`
}

type deadOutput struct{ Body DeadLetter }

type replayOutput struct{ Body deadletters.Result }

type manyInput struct {
	DeadFilter
	Confirm string `query:"confirm" maxLength:"20" doc:"How many there are. Without it nothing is done, and the answer says how many"`
}

type manyOutput struct {
	Body struct {
		deadletters.Summary
		Messages []string `json:"errors,omitempty" doc:"The first failures"`
	}
}

func (s *server) deadRoutes() {
	const all, one = "/v1/dead-letters", "/v1/dead-letters/{sequence}"
	register(s, route{
		id: "list-dead-letters", method: http.MethodGet, path: all, tag: "Dead letters",
		summary: "List what was given up", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *deadListInput) (*deadListOutput, error) {
		f, err := in.filter(ctx)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		page, err := s.o.DeadLetters.List(ctx, f, in.Limit, in.Cursor)
		return &deadListOutput{Body: page}, err
	})
	register(s, route{
		id: "get-dead-letter", method: http.MethodGet, path: one, tag: "Dead letters",
		summary: "Show one dead letter, with its payload", rule: read, status: http.StatusOK,
	}, s.getDead)
	register(s, route{
		id: "replay-dead-letter", method: http.MethodPost, path: one + "/replay", tag: "Dead letters",
		summary: "Send one again", rule: admin, status: http.StatusOK,
	}, s.replayDead)
	register(s, route{
		id: "discard-dead-letter", method: http.MethodDelete, path: one, tag: "Dead letters",
		summary: "Give one up for good", rule: admin, status: http.StatusNoContent,
	}, s.discardDead)
	for _, act := range []struct {
		name, method, path, summary string
		do                          func(context.Context, deadletters.Filter, func(deadletters.Summary)) (deadletters.Summary, error)
	}{
		{"replay", http.MethodPost, all + "/replay", "Send again what a filter selects", s.o.DeadLetters.ReplayAll},
		{"discard", http.MethodDelete, all, "Give up for good what a filter selects", s.o.DeadLetters.DiscardAll},
	} {
		register(s, route{
			id: act.name + "-dead-letters", method: act.method, path: act.path, tag: "Dead letters",
			summary: act.summary, rule: admin, status: http.StatusOK,
		}, func(ctx context.Context, in *manyInput) (*manyOutput, error) {
			return s.manyDead(ctx, in, act.name, act.do)
		})
	}
}

// letter returns a letter that the caller may see.
func (s *server) letter(ctx context.Context, sequence uint64) (deadletters.Entry, error) {
	e, err := s.o.DeadLetters.Get(ctx, sequence)
	if err == nil && !callerOf(ctx).allows(e.Channel) {
		return e, forbidden("the token is not for this channel")
	}
	return e, err
}

func (s *server) getDead(ctx context.Context, in *deadInput) (*deadOutput, error) {
	e, err := s.letter(ctx, in.Sequence)
	if err != nil {
		return nil, err
	}
	out := &deadOutput{Body: DeadLetter{Entry: e, ContentType: e.Update.ContentType}}
	if p := e.Update.Payload; events.IsJSON(e.Update.ContentType) && events.CheckJSON(p) == nil {
		out.Body.Payload = p
	} else {
		out.Body.PayloadBase64 = base64.StdEncoding.EncodeToString(p)
	}
	return out, nil
}

func (s *server) replayDead(ctx context.Context, in *deadInput) (*replayOutput, error) {
	e, err := s.letter(ctx, in.Sequence)
	if err != nil {
		return nil, err
	}
	out := &replayOutput{}
	err = s.audited(ctx, "dead_letter.replay", e.Channel, e, nil, func(ctx context.Context) (any, error) {
		out.Body, err = s.o.DeadLetters.Replay(ctx, in.Sequence)
		return out.Body, err
	})
	return out, err
}

func (s *server) discardDead(ctx context.Context, in *deadInput) (*struct{}, error) {
	e, err := s.letter(ctx, in.Sequence)
	if err != nil {
		return nil, err
	}
	return nil, s.audited(ctx, "dead_letter.discard", e.Channel, e, nil, func(ctx context.Context) (any, error) {
		return nil, s.o.DeadLetters.Discard(ctx, in.Sequence)
	})
}

// manyDead counts first; only who repeats the count gets it done.
func (s *server) manyDead(ctx context.Context, in *manyInput, action string, do func(context.Context, deadletters.Filter, func(deadletters.Summary)) (deadletters.Summary, error)) (*manyOutput, error) {
	f, err := in.filter(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, deadTimeout)
	defer cancel()
	count, err := s.o.DeadLetters.Count(ctx, f)
	if err != nil {
		return nil, err
	}
	if confirm := strconv.Itoa(count); in.Confirm != confirm {
		p := problem(http.StatusConflict, "confirm", fmt.Sprintf("nothing was done: the filter selects %d; repeat with confirm=%d", count, count))
		p.Confirm = confirm
		return nil, p
	}
	out := &manyOutput{}
	err = s.audited(ctx, "dead_letters."+action, in.Channel, f, nil, func(ctx context.Context) (any, error) {
		out.Body.Summary, err = do(ctx, f, nil)
		return out.Body.Summary, err
	})
	for _, failed := range out.Body.Errors {
		out.Body.Messages = append(out.Body.Messages, failed.Error())
	}
	return out, err
}
