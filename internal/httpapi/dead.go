package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
)

// A DeadFilter selects dead letters.
type DeadFilter struct {
	Channel string    `query:"channel" maxLength:"63"`
	Key     string    `query:"key" maxLength:"1024" doc:"Needs channel"`
	Outcome string    `query:"outcome" enum:"dead_lettered,conflict"`
	Class   string    `query:"class" maxLength:"40"`
	Code    string    `query:"code" maxLength:"100"`
	After   time.Time `query:"after" doc:"Stored then or later"`
	Before  time.Time `query:"before" doc:"Stored earlier"`
	Prefix  string    `query:"prefix" maxLength:"1024" doc:"The key begins with it"`
	Group   string    `query:"group" maxLength:"16" doc:"Of this group, see GET /v1/dead-letters/groups"`
	State   string    `query:"state" enum:"open,pending,resolved,any" doc:"Default: open"`
}

func (f *DeadFilter) filter(ctx context.Context) (deadletters.Filter, error) {
	out := deadletters.Filter{
		Channel: f.Channel, Key: f.Key, Outcome: events.Outcome(f.Outcome), Class: f.Class, Code: f.Code,
		After: f.After, Before: f.Before, Prefix: f.Prefix, Group: f.Group, State: deadletters.State(f.State),
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

type deadListInput struct {
	DeadFilter
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor uint64 `query:"cursor" doc:"Of the page before"`
}

type deadListOutput struct{ Body operate.LetterPage }

type deadGroupsInput struct{ DeadFilter }

type deadGroupsOutput struct{ Body deadletters.Groups }

type deadInput struct {
	Sequence uint64 `path:"sequence" minimum:"1"`
}

type deadActInput struct {
	Sequence uint64 `path:"sequence" minimum:"1"`
	Reason   string `query:"reason" maxLength:"1000" doc:"Why, for the audit log"`
}

type deadOutput struct{ Body operate.Letter }

type deadContentOutput struct{ Body operate.LetterContent }

type letterOutput struct{ Body operate.LetterResult }

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
		page, err := s.o.Client.Letters(ctx, f, in.Limit, in.Cursor)
		return &deadListOutput{Body: page}, err
	})
	register(s, route{
		id: "group-dead-letters", method: http.MethodGet, path: all + "/groups", tag: "Dead letters",
		summary: "Put what was given up together by why it failed", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *deadGroupsInput) (*deadGroupsOutput, error) {
		f, err := in.filter(ctx)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		groups, err := s.o.Client.LetterGroups(ctx, f)
		return &deadGroupsOutput{Body: groups}, err
	})
	register(s, route{
		id: "get-dead-letter", method: http.MethodGet, path: one, tag: "Dead letters",
		summary: "Show one dead letter, without its content", rule: read, status: http.StatusOK,
	}, s.getDead)
	register(s, route{
		id: "get-dead-letter-payload", method: http.MethodGet, path: one + "/payload", tag: "Dead letters",
		summary: "Show one dead letter with its content, which the audit log notes", rule: contents, status: http.StatusOK,
	}, func(ctx context.Context, in *deadInput) (*deadContentOutput, error) {
		l, err := s.letter(ctx, in.Sequence)
		if err != nil {
			return nil, err
		}
		shown, err := s.acting(ctx).LetterContent(ctx, l)
		return &deadContentOutput{Body: shown}, err
	})
	for _, act := range []struct {
		act                   operate.LetterAct
		method, path, summary string
	}{
		{operate.Replay, http.MethodPost, "/replay", "Send one again"},
		{operate.Discard, http.MethodDelete, "", "Give one up for good"},
	} {
		register(s, route{
			id: string(act.act) + "-dead-letter", method: act.method, path: one + act.path, tag: "Dead letters",
			summary: act.summary, rule: operating, status: http.StatusOK,
		}, func(ctx context.Context, in *deadActInput) (*letterOutput, error) {
			l, err := s.letter(ctx, in.Sequence)
			if err != nil {
				return nil, err
			}
			result, err := s.acting(ctx).ActOnLetter(ctx, act.act, l.Entry, in.Reason)
			return &letterOutput{Body: result}, err
		})
	}
}

// letter returns a letter that the caller may see.
func (s *server) letter(ctx context.Context, sequence uint64) (operate.Letter, error) {
	l, err := s.o.Client.Letter(ctx, sequence)
	if err == nil && !callerOf(ctx).allows(l.Channel) {
		return operate.Letter{}, forbidden("the token is not for this channel")
	}
	return l, err
}

func (s *server) getDead(ctx context.Context, in *deadInput) (*deadOutput, error) {
	l, err := s.letter(ctx, in.Sequence)
	return &deadOutput{Body: l}, err
}
