package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/pkg/channels"
)

// A Revision is a channel's configuration as it was for a time.
type Revision struct {
	Revision uint64          `json:"revision" doc:"0: from before revisions were recorded"`
	At       time.Time       `json:"at"`
	Actor    string          `json:"actor"`
	Action   string          `json:"action" example:"channel.put"`
	Reason   string          `json:"reason" doc:"That was given; empty: none"`
	Changed  []string        `json:"changed" doc:"Fields that got another value; of a new channel all that are set"`
	Config   json.RawMessage `json:"config,omitempty" doc:"In the form that PUT takes; none: the audit log does not have all of it"`
	Current  bool            `json:"current" doc:"It is the configuration of now"`
}

// A History is a page of the configurations of a channel, the newest first, by the audit log.
type History struct {
	Revisions []Revision `json:"revisions" doc:"May be empty although there is a next page"`
	Next      string     `json:"next" doc:"The cursor of the next page; empty: this was the last"`
	Complete  bool       `json:"complete" doc:"It reaches back to when the channel was made. Without it and without a next page, the audit log does not: it keeps the newest 64 MiB"`
}

// History returns a page of a channel's configurations. It fails with channels.ErrNotFound or
// ErrCursor.
func (c *Client) History(ctx context.Context, channel string, limit int, cursor string) (History, error) {
	out := History{Revisions: []Revision{}}
	now, err := c.Channel(ctx, channel)
	if err != nil {
		return out, err
	}
	look := auditlog.Query{Limit: limit, Selects: func(r *auditlog.Record) bool {
		return r.Target == targetChannel+channel && r.Result == auditlog.Done && configures(r.Action)
	}}
	var then json.RawMessage // the configuration after the act that is looked at; nil: not known
	if cursor == "" {
		then = now.Config
	} else if look.Before, err = strconv.ParseUint(cursor, 10, 64); err != nil || look.Before == 0 {
		return out, fmt.Errorf("%w: %.40q", ErrCursor, cursor)
	}
	acts, next, err := auditlog.Open(c.JS, c.Names).Page(ctx, look)
	if err != nil {
		return out, err
	}
	for i := range acts {
		var one Revision
		one, then = revisionOf(&acts[i].Record, then)
		one.Current = cursor == "" && i == 0
		out.Revisions = append(out.Revisions, one)
		if made(&acts[i].Record) { // what lies before was of another channel of the name
			out.Complete = true
			return out, nil
		}
	}
	if next > 0 {
		out.Next = strconv.FormatUint(next, 10)
	}
	return out, nil
}

// configures reports whether an act changes the configuration of a channel.
func configures(action string) bool {
	return slices.Contains([]string{"channel.put", "channel.clone", "channel." + string(Pause), "channel." + string(Resume)}, action)
}

// made reports whether an act has made the channel.
func made(r *auditlog.Record) bool {
	return r.Action == "channel.clone" || r.Action == "channel.put" && len(r.Before) == 0
}

// revisionOf returns what an act has made of a configuration, given the one that there was after
// it, and the one that there was before.
func revisionOf(r *auditlog.Record, then json.RawMessage) (one Revision, before json.RawMessage) {
	one = Revision{Revision: r.Revision, At: r.At, Actor: r.Actor, Action: r.Action, Reason: r.Reason, Changed: []string{}, Config: then}
	before = r.Before
	if r.Action != "channel.put" && r.Action != "channel.clone" {
		one.Changed = append(one.Changed, "paused")
		return one, paused(then, r.Before)
	}
	if one.Config = whole(r.After); one.Config == nil {
		one.Config = then
	}
	was, is := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if len(before) > 0 {
		flatten("", before, was)
	}
	if one.Config != nil && (len(before) == 0 || whole(before) != nil) {
		flatten("", one.Config, is)
		for _, field := range slices.Sorted(maps.Keys(is)) {
			if !bytes.Equal(was[field], is[field]) {
				one.Changed = append(one.Changed, field)
			}
			delete(was, field)
		}
		one.Changed = append(one.Changed, slices.Sorted(maps.Keys(was))...)
	}
	return one, whole(before)
}

// whole returns a recorded configuration; nil if it is none, or was too large for the log.
func whole(value json.RawMessage) json.RawMessage {
	var c channels.Config
	if len(value) == 0 || json.Unmarshal(value, &c) != nil || c.Name == "" {
		return nil
	}
	return value
}

// paused returns a configuration as it was before a step; nil if that is not known.
func paused(config, before json.RawMessage) json.RawMessage {
	var c channels.Config
	var was struct {
		Paused bool `json:"paused"`
	}
	if config == nil || errors.Join(json.Unmarshal(config, &c), json.Unmarshal(before, &was)) != nil {
		return nil
	}
	c.Paused = &was.Paused
	out, err := json.Marshal(c)
	if err != nil {
		return nil
	}
	return out
}
