package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/operate"
)

type activityInput struct {
	Limit   int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor  string `query:"cursor" maxLength:"20" doc:"Of the page before"`
	Channel string `query:"channel" maxLength:"63" doc:"Acts on this channel only"`
	Key     string `query:"key" maxLength:"1024" doc:"Acts on this key only"`
}

type activityOutput struct{ Body operate.ActivityPage }

type actInput struct {
	ID string `path:"id" maxLength:"60"`
}

type actOutput struct{ Body operate.ActivityDetail }

type historyInput struct {
	Channel string `path:"channel" maxLength:"63"`
	Limit   int    `query:"limit" minimum:"1" maximum:"200" default:"20"`
	Cursor  string `query:"cursor" maxLength:"20" doc:"Of the page before"`
}

type historyOutput struct{ Body operate.History }

// activityRoutes are about what people have done.
func (s *server) activityRoutes() {
	register(s, route{
		id: "list-activity", method: http.MethodGet, path: "/v1/activity", tag: "Activity",
		summary: "Who has changed what? The newest first", rule: read, relays: true, status: http.StatusOK,
	}, s.listActivity)
	register(s, route{
		id: "get-activity", method: http.MethodGet, path: "/v1/activity/{id}", tag: "Activity",
		summary: "Show an act, with what was there before and after", rule: admin, status: http.StatusOK,
	}, func(ctx context.Context, in *actInput) (*actOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		detail, err := s.o.Client.ActivityDetail(ctx, in.ID)
		if err == nil && !seesOf(callerOf(ctx))(detail.Target) {
			return nil, forbidden("the token is not for what the act was done to")
		}
		return &actOutput{Body: detail}, err
	})
	register(s, route{
		id: "get-channel-history", method: http.MethodGet, path: "/v1/channels/{channel}/history", tag: "Channels",
		summary: "Show the configurations that a channel had, by the audit log", rule: configuring, status: http.StatusOK,
	}, func(ctx context.Context, in *historyInput) (*historyOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		history, err := s.o.Client.History(ctx, in.Channel, in.Limit, in.Cursor)
		return &historyOutput{Body: history}, cursorProblem(err)
	})
}

// seesOf says of which targets of acts a caller is told.
func seesOf(c *caller) func(target string) bool {
	if !c.limited() {
		return func(string) bool { return true }
	}
	return func(target string) bool { return operate.SeesTarget(target, c.allows, c.allowsTopic) }
}

func (s *server) listActivity(ctx context.Context, in *activityInput) (*activityOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	c := callerOf(ctx)
	page, err := s.o.Client.Activity(ctx, operate.ActivityQuery{
		Limit: in.Limit, Cursor: in.Cursor, Channel: in.Channel, Key: in.Key, Sees: seesOf(c),
	})
	hideErrors(c, page.Records)
	return &activityOutput{Body: page}, cursorProblem(err)
}

// hideErrors takes out of acts on topics what has gone wrong, for a token that is limited: it may
// name channels that the token is not for.
func hideErrors(c *caller, records []operate.Activity) {
	for i := range records {
		if c.limited() && !operate.SeesTarget(records[i].Target, c.allows, func(string) bool { return false }) {
			records[i].Error = ""
		}
	}
}

// cursorProblem returns the problem of a cursor that is none of the list.
func cursorProblem(err error) error {
	if errors.Is(err, operate.ErrCursor) || errors.Is(err, jobs.ErrCursor) {
		return invalid(FieldError{Location: "query.cursor", Message: operate.ErrCursor.Error()})
	}
	return err
}
