package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
)

// An Activity is an administrative act, without what was there before and after.
type Activity struct {
	ID     string    `json:"id"`
	At     time.Time `json:"at" doc:"When it was begun"`
	Actor  string    `json:"actor" example:"token 0a1b2c (portal)"`
	Action string    `json:"action" example:"channel.put"`
	Target string    `json:"target" example:"channel erp"`
	Result string    `json:"result" enum:"started,done,failed" doc:"One that is only started is under way, or was cut off, and may have been done"`
	Reason string    `json:"reason" doc:"That was given; empty: none"`
	Error  string    `json:"error" doc:"Empty: none"`
}

// An ActivityDetail is an act with what was there before and after.
type ActivityDetail struct {
	Activity

	From   string          `json:"from,omitempty" doc:"The network address of whoever did it"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// An ActivityPage is a page of acts, the newest first.
type ActivityPage struct {
	Records []Activity `json:"records" doc:"May be empty although there is a next page"`
	Next    string     `json:"next" doc:"The cursor of the next page; empty: this was the last"`
}

// An ActivityQuery selects a page of acts.
type ActivityQuery struct {
	Limit  int
	Cursor string // ActivityPage.Next of the page before; "" for the first
	// Channel and Key are what acts are about; "": any.
	Channel, Key string
	// Sees says whether to tell of what an act was done to; nil: of all.
	Sees func(target string) bool
}

// Activity returns a page of acts. It fails with ErrCursor.
func (c *Client) Activity(ctx context.Context, q ActivityQuery) (ActivityPage, error) {
	out := ActivityPage{Records: []Activity{}}
	look := auditlog.Query{Limit: q.Limit, Selects: q.selects}
	if q.Cursor != "" {
		var err error
		if look.Before, err = strconv.ParseUint(q.Cursor, 10, 64); err != nil || look.Before == 0 {
			return out, fmt.Errorf("%w: %.40q", ErrCursor, q.Cursor)
		}
	}
	acts, next, err := auditlog.Open(c.JS, c.Names).Page(ctx, look)
	for i := range acts {
		out.Records = append(out.Records, activityOf(&acts[i]))
	}
	if next > 0 {
		out.Next = strconv.FormatUint(next, 10)
	}
	return out, err
}

// ActivityDetail returns one act, by its id, or auditlog.ErrNotFound.
func (c *Client) ActivityDetail(ctx context.Context, id string) (ActivityDetail, error) {
	at, name, _ := strings.Cut(id, "-")
	sequence, err := strconv.ParseUint(at, 10, 64)
	if err != nil || sequence == 0 {
		return ActivityDetail{}, fmt.Errorf("%w: %.60q", auditlog.ErrNotFound, id)
	}
	e, err := auditlog.Open(c.JS, c.Names).Get(ctx, sequence, name)
	if err != nil {
		return ActivityDetail{}, err
	}
	return ActivityDetail{Activity: activityOf(&e), From: e.From, Before: e.Before, After: e.After}, nil
}

func activityOf(e *auditlog.Entry) Activity {
	return Activity{
		ID: strconv.FormatUint(e.Sequence, 10) + "-" + e.ID, At: e.At, Actor: e.Actor, Action: e.Action, Target: e.Target,
		Result: e.Result, Reason: e.Reason, Error: e.Error,
	}
}

func (q *ActivityQuery) selects(r *auditlog.Record) bool {
	if q.Sees != nil && !q.Sees(r.Target) || q.Channel != "" && r.Target != targetChannel+q.Channel {
		return false
	}
	return q.Key == "" || mentions(r.Before, q.Key) || mentions(r.After, q.Key)
}

// What acts are done to begins so in the audit log.
const (
	targetChannel = "channel "
	targetTopic   = "topic "
)

// SeesTarget says whether one who may see some channels and topics is told of an act that was done
// to a target: acts on anything else are not theirs.
func SeesTarget(target string, allows, allowsTopic func(name string) bool) bool {
	if name, ok := strings.CutPrefix(target, targetChannel); ok {
		return allows(name)
	}
	name, ok := strings.CutPrefix(target, targetTopic)
	return ok && allowsTopic(name)
}

// mentions reports whether what was there before or after an act is about a key.
func mentions(value json.RawMessage, key string) bool {
	var about struct {
		Key  string   `json:"key"`
		Keys []string `json:"keys"`
	}
	if len(value) == 0 || json.Unmarshal(value, &about) != nil {
		return false
	}
	return about.Key == key || slices.Contains(about.Keys, key)
}
