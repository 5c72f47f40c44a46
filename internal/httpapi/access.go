package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/tokens"
)

// maxListed is how many tokens or logins one answer has.
const maxListed = 200

// A TokenPage is a page of tokens, the oldest first.
type TokenPage struct {
	Tokens  []tokens.View `json:"tokens"`
	Next    string        `json:"next,omitempty" doc:"The cursor of the next page; none: this was the last"`
	Foreign int           `json:"foreign_records,omitempty" doc:"Records at the broker that no administrator's key has signed; they do not count"`
}

type tokensInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"200"`
	Cursor string `query:"cursor" maxLength:"40" doc:"Of the page before"`
}

type tokensOutput struct{ Body TokenPage }

// A SessionList lists logins, the newest first.
type SessionList struct {
	Sessions []sessions.Record `json:"sessions"`
	More     int               `json:"more,omitempty" doc:"How many more there are"`
}

type sessionsOutput struct{ Body SessionList }

type endInput struct {
	Session string `path:"session" maxLength:"32"`
}

// accessRoutes are about who may do what.
func (s *server) accessRoutes() {
	const tag = "Access"
	register(s, route{
		id: "list-tokens", method: http.MethodGet, path: "/v1/tokens", tag: tag,
		summary: "List the tokens, without their secrets", rule: admin, status: http.StatusOK,
	}, func(ctx context.Context, in *tokensInput) (*tokensOutput, error) {
		if err := unlimited(ctx); err != nil {
			return nil, err
		}
		page, err := s.tokenPage(in)
		return &tokensOutput{Body: page}, err
	})
	register(s, route{
		id: "list-sessions", method: http.MethodGet, path: "/v1/sessions", tag: tag,
		summary: "List who is logged in", rule: admin, status: http.StatusOK,
	}, func(ctx context.Context, _ *struct{}) (*sessionsOutput, error) {
		if err := unlimited(ctx); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		list, more, err := s.o.Sessions.List(ctx, s.o.Tokens.Ended, maxListed)
		return &sessionsOutput{Body: SessionList{Sessions: append([]sessions.Record{}, list...), More: more}}, err
	})
	register(s, route{
		id: "end-session", method: http.MethodDelete, path: "/v1/sessions/{session}", tag: tag,
		summary: "End a login, also one that is not in the list", rule: admin, status: http.StatusOK,
	}, s.endSession)
}

// unlimited refuses callers that are limited to channels and topics: what they ask for is
// about everybody.
func unlimited(ctx context.Context) error {
	if callerOf(ctx).limited() {
		return forbidden("the token is limited to channels or topics, and this is about all")
	}
	return nil
}

func (s *server) tokenPage(in *tokensInput) (TokenPage, error) {
	page := TokenPage{Tokens: []tokens.View{}, Foreign: s.o.Tokens.Foreign()}
	// The cursor holds the place of a token, which may be removed meanwhile.
	created, id, ok := strings.Cut(in.Cursor, ".")
	at, err := strconv.ParseInt(created, 10, 64)
	if in.Cursor != "" && (!ok || err != nil) {
		return page, cursorProblem(operate.ErrCursor)
	}
	last := ""
	for _, t := range s.o.Tokens.List() {
		place := t.Created.UnixNano()
		switch {
		case in.Cursor != "" && (place < at || place == at && t.ID <= id):
		case len(page.Tokens) == in.Limit:
			page.Next = last
			return page, nil
		default:
			page.Tokens, last = append(page.Tokens, t.View()), strconv.FormatInt(place, 10)+"."+t.ID
		}
	}
	return page, nil
}

func (s *server) endSession(ctx context.Context, in *endInput) (*endOutput, error) {
	if err := unlimited(ctx); err != nil {
		return nil, err
	}
	if !sessions.CheckID(in.Session) {
		return nil, problem(http.StatusNotFound, "unknown_session", "that is not the id of a login")
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	out := &endOutput{}
	act := auditlog.Act{Action: "session.end", Target: "session " + in.Session}
	err := s.acting(ctx).Act(ctx, act, func(ctx context.Context) (any, error) {
		record, err := s.o.Sessions.End(ctx, in.Session)
		out.Body.Ended = err == nil
		return record, err
	})
	return out, err
}
