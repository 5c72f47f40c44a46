package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/schema"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/why"
)

const readTimeout = 20 * time.Second

type entityInput struct {
	Channel  string `path:"channel" maxLength:"63"`
	Key      string `path:"key" maxLength:"1024"`
	Timeline int    `query:"timeline" minimum:"0" maximum:"1000" doc:"How many entries of the outcome log to add, newest first"`
}

type entityOutput struct{ Body operate.Whereabouts }

type everywhereInput struct {
	Key      string `path:"key" maxLength:"1024"`
	Timeline int    `query:"timeline" minimum:"0" maximum:"1000" doc:"How many entries of the outcome log to add for each channel, newest first"`
}

type everywhereOutput struct{ Body operate.Found }

// Listed are the parameters of a list of keys.
type Listed struct {
	Sync   []why.Sync   `query:"sync" enum:"in_sync,filtered,waiting,behind,ahead,unknown" maxItems:"6" doc:"One or more, with commas: what the target holds"`
	Health []why.Health `query:"health" enum:"ok,retrying,parked,dead,down,paused,blocked" maxItems:"7" doc:"One or more, with commas: whether the newest version moves"`
	Why    []why.Code   `query:"why" maxItems:"40" doc:"One or more codes of reasons, with commas. Without any filter: the keys that have a reason"`
	Prefix string       `query:"prefix" maxLength:"1024" doc:"Keys that begin so. Alone it lists keys without a reason, too"`
	Older  string       `query:"older_than" maxLength:"20" example:"10m" doc:"Keys that have been as they are for longer: since their reason is there, else since their newest version was published or delivered"`
	Limit  int          `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor string       `query:"cursor" maxLength:"110" doc:"Of the page before"`
}

type listInput struct {
	Channel string `path:"channel" maxLength:"63"`
	Listed
}

type listAllInput struct{ Listed }

type waitInput struct {
	Channel string `path:"channel" maxLength:"63"`
	Key     string `path:"key" maxLength:"1024"`
	Awaited
}

// Awaited is a version that somebody waits for.
type Awaited struct {
	Version string `query:"version" required:"true" maxLength:"40" doc:"A number, or an RFC 3339 time"`
	Timeout string `query:"timeout" default:"30s" doc:"How long to wait, 100ms to 55s"`
}

type waitOutput struct{ Body operate.Waited }

type listOutput struct{ Body operate.ListPage }

func (s *server) lookupRoutes() {
	register(s, route{
		id: "get-entity", method: http.MethodGet, path: "/v1/channels/{channel}/entities/{key}", tag: "Entities",
		summary: "Where is my update?", rule: read, status: http.StatusOK,
	}, s.getEntity)
	register(s, route{
		id: "get-entity-everywhere", method: http.MethodGet, path: "/v1/entities/{key}", tag: "Entities",
		summary: "Where is my update, in every channel?", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *everywhereInput) (*everywhereOutput, error) {
		found, err := s.look(ctx, operate.Lookup{Key: in.Key, Allows: callerOf(ctx).allows, AllowsTopic: callerOf(ctx).allowsTopic, Timeline: in.Timeline})
		found.Bound(operate.MaxRows)
		return &everywhereOutput{Body: found}, err
	})
	register(s, route{
		id: "wait-for-entity", method: http.MethodGet, path: "/v1/channels/{channel}/entities/{key}/outcome", tag: "Entities",
		summary: "Wait until a version has an outcome", rule: read, status: http.StatusOK,
	}, s.waitForEntity)
	register(s, route{
		id: "list-entities", method: http.MethodGet, path: "/v1/channels/{channel}/entities", tag: "Entities",
		summary: "List entities by how they stand", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *listInput) (*listOutput, error) {
		return s.listEntities(ctx, &in.Listed, operate.ListQuery{Channel: in.Channel})
	})
	register(s, route{
		id: "list-entities-everywhere", method: http.MethodGet, path: "/v1/entities", tag: "Entities",
		summary: "List entities of all channels by how they stand", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *listAllInput) (*listOutput, error) {
		return s.listEntities(ctx, &in.Listed, operate.ListQuery{Allows: callerOf(ctx).allows})
	})
}

func (s *server) getEntity(ctx context.Context, in *entityInput) (*entityOutput, error) {
	if err := events.CheckChannel(in.Channel); err != nil {
		return nil, fmt.Errorf("%w: %w", channels.ErrNotFound, err)
	}
	found, err := s.look(ctx, operate.Lookup{Key: in.Key, Channel: in.Channel, Timeline: in.Timeline})
	if err != nil {
		return nil, err
	}
	return &entityOutput{Body: found.Channels[0]}, nil
}

// checkKey returns the problem of a key in the path that none can be.
func checkKey(key string) error {
	if _, err := events.EncodeKey(key); err != nil {
		return invalid(FieldError{Location: "path.key", Message: err.Error()})
	}
	return nil
}

func (s *server) look(ctx context.Context, l operate.Lookup) (operate.Found, error) {
	if err := checkKey(l.Key); err != nil {
		return operate.Found{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return s.o.Client.Look(ctx, l)
}

// parse returns the version, and how long to wait for it.
func (in *Awaited) parse() (versioning.Version, time.Duration, error) {
	version, err := versioning.Parse(in.Version)
	if err != nil {
		return versioning.Version{}, 0, invalid(FieldError{Location: "query.version", Message: err.Error()})
	}
	timeout, p := parseWait("timeout", in.Timeout)
	if p != nil {
		return versioning.Version{}, 0, p
	}
	return version, timeout, nil
}

func (s *server) waitForEntity(ctx context.Context, in *waitInput) (*waitOutput, error) {
	version, timeout, err := in.parse()
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.waiting(ctx, timeout)
	defer cancel()
	waited, err := s.o.Client.Wait(ctx, in.Channel, in.Key, version)
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) || errors.Is(err, events.ErrUnavailable) || s.o.Draining.Err() != nil {
		return &waitOutput{Body: waited}, err
	}
	detail := "there was no outcome in time"
	if r := s.o.Client.Why(ctx, in.Channel, in.Key, version); r != nil {
		detail += ": " + string(r.Code) + ": " + r.String()
	}
	return nil, problem(http.StatusGatewayTimeout, "no_outcome", detail)
}

func (s *server) listEntities(ctx context.Context, in *Listed, q operate.ListQuery) (*listOutput, error) {
	for _, code := range in.Why {
		if code.What() == "" {
			return nil, invalid(FieldError{Location: "query.why", Message: fmt.Sprintf("%.40q is no code of a reason", code)})
		}
	}
	if in.Older != "" {
		older, err := schema.ParseDuration(in.Older)
		if err != nil || older < 0 {
			return nil, invalid(FieldError{Location: "query.older_than", Message: "it is no duration such as 10m or 7d"})
		}
		q.OlderThan = older
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	q.Prefix = in.Prefix
	q.Sync, q.Health, q.Why, q.Limit, q.Cursor = in.Sync, in.Health, in.Why, in.Limit, in.Cursor
	page, err := s.o.Client.List(ctx, q)
	if errors.Is(err, operate.ErrCursor) {
		return nil, invalid(FieldError{Location: "query.cursor", Message: operate.ErrCursor.Error()})
	}
	return &listOutput{Body: page}, err
}
