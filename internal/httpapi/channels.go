package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// adminTimeout bounds an administrative act; changing the partitions waits for
// the workers, up to half a minute.
const adminTimeout = 45 * time.Second

// A Channel is one channel in a list.
type Channel struct {
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Mode        channels.Mode `json:"mode"`
	Kind        string        `json:"kind" doc:"Of its connector"`
	Paused      bool          `json:"paused,omitempty"`
	Deleted     time.Time     `json:"deleted,omitzero"`
	Revision    uint64        `json:"revision"`
	Updated     time.Time     `json:"updated"`
}

// A ChannelConfig is a configuration with where it stands. Config has the form
// that PUT takes.
type ChannelConfig struct {
	Revision uint64          `json:"revision"`
	Updated  time.Time       `json:"updated,omitzero"`
	Deleted  time.Time       `json:"deleted,omitzero"`
	Config   json.RawMessage `json:"config"`
	// Change and Differences are told by PUT.
	Change      channels.Change `json:"change,omitempty"`
	DryRun      bool            `json:"dry_run,omitempty"`
	Differences []Difference    `json:"differences,omitempty"`
}

// A Difference is one field that a change would set.
type Difference struct {
	Field string `json:"field"`
	Old   any    `json:"old,omitempty"`
	New   any    `json:"new,omitempty"`
}

type channelInput struct {
	Channel string `path:"channel" maxLength:"63"`
}

type channelOutput struct {
	Status int
	ETag   string `header:"ETag"`
	Body   ChannelConfig
}

type channelsOutput struct {
	Body struct {
		Channels []Channel `json:"channels"`
	}
}

type putInput struct {
	Channel     string `path:"channel" maxLength:"63"`
	IfMatch     string `header:"If-Match" maxLength:"40" doc:"The ETag of what is changed"`
	IfNoneMatch string `header:"If-None-Match" maxLength:"40" doc:"* for a channel that must be new"`
	DryRun      bool   `query:"dry_run" doc:"Validate, and show the difference; change nothing"`
	RawBody     []byte `contentType:"application/json"`
}

type deleteInput struct {
	Channel string `path:"channel" maxLength:"63"`
	IfMatch string `header:"If-Match" maxLength:"40"`
	Confirm string `query:"confirm" maxLength:"63" doc:"The channel's name. Without it nothing is deleted, and the answer says what is undelivered"`
}

type deleteOutput struct {
	Body struct {
		Channel         string    `json:"channel"`
		Undelivered     uint64    `json:"undelivered" doc:"Updates that will not be delivered unless the channel is restored"`
		Deleted         time.Time `json:"deleted"`
		RestorableUntil time.Time `json:"restorable_until"`
	}
}

func (s *server) channelRoutes() {
	one := "/v1/channels/{channel}"
	register(s, route{
		id: "list-channels", method: http.MethodGet, path: "/v1/channels", tag: "Channels",
		summary: "List the channels", rule: read, status: http.StatusOK,
	}, s.listChannels)
	register(s, route{
		id: "get-channel", method: http.MethodGet, path: one, tag: "Channels",
		summary: "Show a channel's configuration", rule: admin, status: http.StatusOK,
	}, func(ctx context.Context, in *channelInput) (*channelOutput, error) {
		e, err := s.o.Registry.Get(ctx, in.Channel)
		if err != nil {
			return nil, err
		}
		return answerChannel(e)
	})
	schema := &huma.Schema{Type: huma.TypeObject, Description: "A channel, as in the files of `extsync channels apply`; /v1/connector-kinds has the schema of connector.config"}
	register(s, route{
		id: "put-channel", method: http.MethodPut, path: one, tag: "Channels",
		summary: "Make or change a channel", rule: admin, status: http.StatusOK, also: []int{http.StatusCreated}, maxBody: maxAdminBody,
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: schema}}},
	}, s.putChannel)
	register(s, route{
		id: "delete-channel", method: http.MethodDelete, path: one, tag: "Channels",
		summary: "Delete a channel; it can be restored for 7 days", rule: admin, status: http.StatusOK,
	}, s.deleteChannel)
	register(s, route{
		id: "probe-channel", method: http.MethodPost, path: one + "/probe", tag: "Channels",
		summary: "Try a target at once that a channel waits for", rule: admin, status: http.StatusOK,
	}, s.probeChannel)
	for _, act := range []struct {
		name, summary string
		do            func(context.Context, string) (channels.Entry, error)
	}{
		{"pause", "Hold a channel's deliveries back", s.o.Registry.Pause},
		{"resume", "Let a paused channel go on", s.o.Registry.Resume},
		{"restore", "Bring a deleted channel back", s.o.Registry.Restore},
		{"reload", "Have the workers read a channel's secrets again", s.o.Registry.Reload},
	} {
		register(s, route{
			id: act.name + "-channel", method: http.MethodPut, path: one + "/" + act.name, tag: "Channels",
			summary: act.summary, rule: admin, status: http.StatusOK,
		}, func(ctx context.Context, in *channelInput) (*channelOutput, error) {
			return s.changeChannel(ctx, in.Channel, act.name, act.do)
		})
	}
}

// Probed says what came of trying a target at once.
type Probed struct {
	Channel    string            `json:"channel"`
	Partitions []channels.Probed `json:"partitions"`
}

type probeOutput struct{ Body Probed }

func (s *server) probeChannel(ctx context.Context, in *channelInput) (*probeOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	out := &probeOutput{Body: Probed{Channel: in.Channel}}
	err := s.audited(ctx, "channel.probe", in.Channel, nil, nil, func(ctx context.Context) (any, error) {
		var err error
		look := standing.Looker{JS: s.o.JS, Names: s.o.Names, Registry: s.o.Registry}
		out.Body.Partitions, err = look.Probe(ctx, in.Channel)
		return nil, err
	})
	return out, err
}

func (s *server) listChannels(ctx context.Context, _ *struct{}) (*channelsOutput, error) {
	entries, err := s.o.Registry.List(ctx)
	if err != nil && len(entries) == 0 {
		return nil, err
	}
	out := &channelsOutput{}
	out.Body.Channels = []Channel{}
	for _, e := range entries {
		c := e.Config
		if callerOf(ctx).allows(c.Name) {
			out.Body.Channels = append(out.Body.Channels, Channel{
				Name: c.Name, Description: c.Description, Mode: c.Mode, Kind: c.Connector.Kind, Paused: e.Paused(),
				Deleted: e.Deleted, Revision: e.Revision, Updated: e.Updated,
			})
		}
	}
	return out, nil
}

func etag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

func answerChannel(e channels.Entry) (*channelOutput, error) {
	data, err := json.Marshal(e.Config)
	if err != nil {
		return nil, err
	}
	out := &channelOutput{Status: http.StatusOK, Body: ChannelConfig{Revision: e.Revision, Updated: e.Updated, Deleted: e.Deleted, Config: data}}
	if e.Revision > 0 {
		out.ETag = etag(e.Revision)
	}
	return out, nil
}

// decodeChannel reads a configuration strictly.
func decodeChannel(name string, body []byte) (channels.Config, error) {
	var c channels.Config
	if len(body) == 0 || !json.Valid(body) { // the decoder would take YAML too
		return c, invalid(FieldError{Location: "body", Message: "it is not valid JSON"})
	}
	if err := connectors.DecodeStrict(body, &c); err != nil {
		return c, err
	}
	if c.Name != "" && c.Name != name {
		return c, invalid(FieldError{Location: "body.name", Message: "it is not the name in the address"})
	}
	c.Name = name
	return c.WithDefaults(), nil
}

func (s *server) putChannel(ctx context.Context, in *putInput) (*channelOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	c, err := decodeChannel(in.Channel, in.RawBody)
	if err != nil {
		return nil, err
	}
	if err := c.Validate(s.o.Catalog); err != nil {
		return nil, err
	}
	old, err := s.o.Registry.Get(ctx, in.Channel)
	if errors.Is(err, channels.ErrNotFound) {
		old, err = channels.Entry{}, nil
	}
	if err != nil {
		return nil, err
	}
	if p := precondition(in, old.Revision); p != nil {
		return nil, p
	}
	change, err := old.Change(c)
	if err != nil {
		return nil, err
	}
	c = old.Wanted(c)
	e := channels.Entry{Config: c, Revision: old.Revision}
	if change == channels.Unchanged {
		if change, err = s.mend(ctx, old, in.DryRun); err != nil {
			return nil, err
		}
	} else if !in.DryRun {
		err = s.audited(ctx, "channel.put", in.Channel, before(old), c, func(ctx context.Context) (any, error) {
			e, err = s.o.Registry.Put(ctx, c, old.Revision)
			return nil, err
		})
		if err != nil {
			return nil, err
		}
	}
	out, err := answerChannel(e)
	if err != nil {
		return nil, err
	}
	out.Body.Change, out.Body.DryRun = change, in.DryRun
	out.Body.Differences = differences(before(old), c)
	if change == channels.Created && !in.DryRun {
		out.Status = http.StatusCreated
	}
	return out, nil
}

// mend makes the stream of a channel whose configuration is as it should be again, if
// it is gone or was changed.
func (s *server) mend(ctx context.Context, e channels.Entry, dryRun bool) (channels.Change, error) {
	drift, err := s.o.Registry.DriftOf(ctx, e)
	if err != nil || drift == nil {
		return channels.Unchanged, err
	}
	if dryRun {
		return channels.Mended, nil
	}
	return channels.Mended, s.audited(ctx, "channel.mend", e.Config.Name, drift, nil, func(ctx context.Context) (any, error) {
		return nil, s.o.Registry.Repair(ctx, e)
	})
}

func before(e channels.Entry) any {
	if e.Revision == 0 {
		return nil
	}
	return e.Config
}

// precondition wants to know what the caller has seen: else two people who change
// a channel at once would not notice each other. A dry run changes nothing.
func precondition(in *putInput, revision uint64) *Problem {
	switch {
	case in.IfNoneMatch == "*":
		if revision != 0 {
			return problem(http.StatusPreconditionFailed, "exists", "the channel exists")
		}
	case in.IfMatch != "":
		if in.IfMatch != etag(revision) {
			return problem(http.StatusPreconditionFailed, "changed_meanwhile", "the channel is at ETag "+etag(revision))
		}
	case !in.DryRun:
		return problem(http.StatusPreconditionRequired, "precondition", "give If-Match with the ETag of GET, or If-None-Match: * for a new channel")
	}
	return nil
}

func (s *server) deleteChannel(ctx context.Context, in *deleteInput) (*deleteOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	e, err := s.o.Registry.Get(ctx, in.Channel)
	if err != nil {
		return nil, err
	}
	backlog, err := s.o.Registry.Backlog(ctx, e)
	if err != nil {
		return nil, err
	}
	undelivered := backlog.Undelivered
	if in.IfMatch != "" && in.IfMatch != etag(e.Revision) {
		return nil, problem(http.StatusPreconditionFailed, "changed_meanwhile", "the channel is at ETag "+etag(e.Revision))
	}
	if in.Confirm != in.Channel {
		p := problem(http.StatusConflict, "confirm", "nothing was deleted: "+backlog.String()+" updates are undelivered; repeat with ?confirm="+in.Channel)
		p.Channel, p.Undelivered, p.Confirm = in.Channel, &undelivered, in.Channel
		return nil, p
	}
	err = s.audited(ctx, "channel.delete", in.Channel, e.Config, map[string]uint64{"undelivered": undelivered}, func(ctx context.Context) (any, error) {
		e, err = s.o.Registry.Delete(ctx, in.Channel, e.Revision)
		return nil, err
	})
	if err != nil {
		return nil, err
	}
	out := &deleteOutput{}
	out.Body.Channel, out.Body.Undelivered, out.Body.Deleted = in.Channel, undelivered, e.Deleted
	out.Body.RestorableUntil = e.Deleted.Add(channels.DeletedRetention)
	return out, nil
}

func (s *server) changeChannel(ctx context.Context, name, action string, do func(context.Context, string) (channels.Entry, error)) (*channelOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	old, err := s.o.Registry.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	var e channels.Entry
	err = s.audited(ctx, "channel."+action, name, state(old), nil, func(ctx context.Context) (any, error) {
		e, err = do(ctx, name)
		return state(e), err
	})
	if err != nil {
		return nil, err
	}
	return answerChannel(e)
}

func state(e channels.Entry) any {
	return struct {
		Paused  bool      `json:"paused"`
		Deleted time.Time `json:"deleted,omitzero"`
	}{e.Paused(), e.Deleted}
}

// audited does an administrative act on a channel and records it.
func (s *server) audited(ctx context.Context, action, channel string, before, after any, do func(context.Context) (any, error)) error {
	c := callerOf(ctx)
	target := ""
	if channel != "" {
		target = "channel " + channel
	}
	act := auditlog.Act{Actor: c.actor(), From: c.from, Action: action, Target: target, Before: before, After: after}
	audit := func(subject string) bool { return strings.HasPrefix(subject, s.o.Names.Audit("")) }
	return s.o.Refusals.Do(ctx, audit, func(ctx context.Context) error { return s.o.Audit.Do(ctx, act, do) })
}

// differences lists the fields that are not the same, by their paths.
func differences(old, c any) []Difference {
	a, b := map[string]any{}, map[string]any{}
	flatten("", old, a)
	flatten("", c, b)
	var out []Difference
	for path, v := range b {
		if !reflect.DeepEqual(a[path], v) {
			out = append(out, Difference{Field: path, Old: a[path], New: v})
		}
	}
	for path, v := range a {
		if _, there := b[path]; !there {
			out = append(out, Difference{Field: path, Old: v})
		}
	}
	slices.SortFunc(out, func(x, y Difference) int { return strings.Compare(x.Field, y.Field) })
	return out
}

func flatten(path string, v any, into map[string]any) {
	if v == nil {
		return
	}
	if _, plain := v.(map[string]any); !plain && path == "" {
		data, err := json.Marshal(v)
		var m map[string]any
		if err != nil || json.Unmarshal(data, &m) != nil {
			return
		}
		v = m
	}
	m, ok := v.(map[string]any)
	if !ok {
		into[strings.TrimPrefix(path, ".")] = v
		return
	}
	for name, value := range m {
		flatten(path+"."+name, value, into)
	}
}
