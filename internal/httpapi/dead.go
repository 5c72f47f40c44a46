package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hms-utl/extsync/internal/operate"
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

type deadOutput struct{ Body operate.Letter }

type letterOutput struct{ Body operate.LetterResult }

type manyInput struct {
	DeadFilter
	Confirm string `query:"confirm" maxLength:"20" doc:"How many there are. Without it nothing is done, and the answer says how many"`
}

type manyOutput struct{ Body operate.LetterSummary }

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
		summary: "Show one dead letter, with its payload", rule: contents, status: http.StatusOK,
	}, s.getDead)
	for _, act := range []struct {
		act                        operate.LetterAct
		method, path, summary, all string
	}{
		{operate.Replay, http.MethodPost, "/replay", "Send one again", "Send again what a filter selects"},
		{operate.Discard, http.MethodDelete, "", "Give one up for good", "Give up for good what a filter selects"},
	} {
		register(s, route{
			id: string(act.act) + "-dead-letter", method: act.method, path: one + act.path, tag: "Dead letters",
			summary: act.summary, rule: operating, status: http.StatusOK,
		}, func(ctx context.Context, in *deadInput) (*letterOutput, error) {
			if _, err := s.letter(ctx, in.Sequence); err != nil {
				return nil, err
			}
			result, err := s.acting(ctx).ActOnLetter(ctx, act.act, in.Sequence)
			return &letterOutput{Body: result}, err
		})
		register(s, route{
			id: string(act.act) + "-dead-letters", method: act.method, path: all + act.path, tag: "Dead letters",
			summary: act.all, rule: operating, status: http.StatusOK,
		}, func(ctx context.Context, in *manyInput) (*manyOutput, error) {
			return s.manyDead(ctx, in, act.act)
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

// manyDead counts first; only who repeats the count gets it done.
func (s *server) manyDead(ctx context.Context, in *manyInput, act operate.LetterAct) (*manyOutput, error) {
	f, err := in.filter(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, deadTimeout)
	defer cancel()
	count, err := s.o.Client.CountLetters(ctx, f)
	if err != nil {
		return nil, err
	}
	if confirm := strconv.Itoa(count); in.Confirm != confirm {
		p := problem(http.StatusConflict, "confirm", fmt.Sprintf("nothing was done: the filter selects %d; repeat with confirm=%d", count, count))
		p.Confirm = confirm
		return nil, p
	}
	sum, err := s.acting(ctx).ActOnLetters(ctx, act, f, nil)
	return &manyOutput{Body: sum}, err
}
