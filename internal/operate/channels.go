package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// A Channel is a channel by the registry, without its configuration.
type Channel struct {
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Mode        channels.Mode `json:"mode"`
	Kind        string        `json:"kind" doc:"Of its connector"`
	State       string        `json:"state" enum:"active,paused,changing,deleted" doc:"By the registry; its status says more"`
	Partitions  int           `json:"partitions"`
	Revision    uint64        `json:"revision"`
	Generation  int           `json:"generation" doc:"Of its partitions"`
	Updated     time.Time     `json:"updated,omitzero"`
	Deleted     time.Time     `json:"deleted,omitzero"`
	// Capabilities are those of its connector, as it is configured; none of a kind that this
	// program does not know.
	Capabilities connectors.Capabilities `json:"capabilities" doc:"What its connector can do, as it is configured"`
}

// A ChannelList is channels in the order of their names.
type ChannelList struct {
	Channels []Channel `json:"channels"`
}

// A ChannelConfig is a channel with its configuration.
type ChannelConfig struct {
	Channel
	Config json.RawMessage `json:"config" doc:"With its defaults, in the form that PUT takes. It has references to secrets, not the secrets"`

	Entry channels.Entry `json:"-"`
}

// Channels lists the channels that allows lets through; nil lets all through. With an error
// it returns those that could be read.
func (c *Client) Channels(ctx context.Context, allows func(channel string) bool) (ChannelList, error) {
	out := ChannelList{Channels: []Channel{}}
	entries, err := c.channels(ctx, "")
	for _, e := range entries {
		if allows == nil || allows(e.Config.Name) {
			out.Channels = append(out.Channels, c.channelOf(e))
		}
	}
	return out, err
}

// Channel returns a channel with its configuration, or channels.ErrNotFound.
func (c *Client) Channel(ctx context.Context, name string) (ChannelConfig, error) {
	entries, err := c.channels(ctx, name)
	if err != nil {
		return ChannelConfig{}, err
	}
	return c.configOf(entries[0])
}

func (c *Client) channelOf(e channels.Entry) Channel {
	out := Channel{
		Name: e.Config.Name, Description: e.Config.Description, Mode: e.Config.Mode, Kind: e.Config.Connector.Kind, State: standing.State(e),
		Partitions: e.Config.Partitions, Revision: e.Revision, Generation: e.Generation, Updated: e.Updated, Deleted: e.Deleted,
	}
	if kind, err := c.Catalog.Kind(e.Config.Connector.Kind); err == nil {
		out.Capabilities = kind.With(e.Config.Connector.Config)
	}
	return out
}

func (c *Client) configOf(e channels.Entry) (ChannelConfig, error) {
	data, err := json.Marshal(e.Config)
	return ChannelConfig{Channel: c.channelOf(e), Config: data, Entry: e}, err
}

// A Step is something that is done to a channel as a whole. Doing it again changes nothing.
type Step string

// The steps.
const (
	Pause   Step = "pause"   // hold its deliveries back
	Resume  Step = "resume"  // let them go on
	Restore Step = "restore" // bring it back after it was deleted
	Reload  Step = "reload"  // have its workers read its secrets again
)

// Change takes a step with a channel and records that. It fails with channels.ErrNotFound.
func (c *Client) Change(ctx context.Context, name string, step Step) (ChannelConfig, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return ChannelConfig{}, err
	}
	take, ok := map[Step]func(context.Context, string) (channels.Entry, error){
		Pause: registry.Pause, Resume: registry.Resume, Restore: registry.Restore, Reload: registry.Reload,
	}[step]
	if !ok {
		return ChannelConfig{}, fmt.Errorf("%w: there is no step %q", connectors.ErrConfig, step)
	}
	old, err := registry.Get(ctx, name)
	if err != nil {
		return ChannelConfig{}, err
	}
	var e channels.Entry
	act := auditlog.Act{Action: "channel." + string(step), Target: "channel " + name, Before: stepped(old)}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		e, err = take(ctx, name)
		return auditlog.Revised{After: stepped(e), Revision: e.Revision}, err
	})
	if err != nil {
		return ChannelConfig{}, err
	}
	return c.configOf(e)
}

// stepped is what steps change, for the audit log.
func stepped(e channels.Entry) any {
	return struct {
		Paused  bool      `json:"paused"`
		Deleted time.Time `json:"deleted,omitzero"`
	}{e.Paused(), e.Deleted}
}

// ErrExists says that a channel that was to be made is there.
var ErrExists = errors.New("there is a channel of that name")

// Clone makes a channel with the configuration of another one, paused: it has the same
// target. It fails with channels.ErrNotFound or with ErrExists.
func (c *Client) Clone(ctx context.Context, name, as string) (ChannelConfig, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return ChannelConfig{}, err
	}
	e, err := registry.Get(ctx, name)
	if err != nil {
		return ChannelConfig{}, err
	}
	switch there, err := registry.Get(ctx, as); {
	case err == nil && !there.Deleted.IsZero():
		return ChannelConfig{}, fmt.Errorf("%w: %s was deleted, and is kept until %s", ErrExists, as, there.Deleted.Add(channels.DeletedRetention).Format(time.RFC3339))
	case err == nil:
		return ChannelConfig{}, fmt.Errorf("%w: %s", ErrExists, as)
	case !errors.Is(err, channels.ErrNotFound):
		return ChannelConfig{}, err
	}
	cfg := e.Config
	cfg.Name, cfg.Paused = as, new(true)
	act := auditlog.Act{Action: "channel.clone", Target: "channel " + as}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		e, err = registry.Put(ctx, cfg, 0)
		return auditlog.Revised{After: e.Config, Revision: e.Revision}, err
	})
	if err != nil {
		return ChannelConfig{}, err
	}
	return c.configOf(e)
}

// A Deletion is what became of a channel that was deleted, or would.
type Deletion struct {
	Channel     string `json:"channel"`
	Undelivered uint64 `json:"undelivered" doc:"Updates that will not be delivered unless the channel is restored"`
	AtMost      bool   `json:"undelivered_at_most" doc:"A few too many may be counted in undelivered"`
	// Deleted and RestorableUntil are zero before it is.
	Deleted         time.Time `json:"deleted,omitzero"`
	RestorableUntil time.Time `json:"restorable_until,omitzero"`
	Purged          bool      `json:"purged,omitempty" doc:"It was removed for good"`

	Backlog channels.Backlog `json:"-"`
	Entry   channels.Entry   `json:"-"` // as it was before
}

// PlanDeletion says what Delete would do, or fails with channels.ErrNotFound.
func (c *Client) PlanDeletion(ctx context.Context, name string) (Deletion, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return Deletion{}, err
	}
	e, err := registry.Get(ctx, name)
	if err != nil {
		return Deletion{}, err
	}
	backlog, err := registry.Backlog(ctx, e)
	return Deletion{Channel: name, Undelivered: backlog.Undelivered, AtMost: backlog.AtMost, Backlog: backlog, Entry: e}, err
}

// Delete deletes a channel as it was planned, and records that; channels.ErrRevision: the
// channel was changed since. It can be restored for channels.DeletedRetention.
func (c *Client) Delete(ctx context.Context, plan Deletion) (Deletion, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return plan, err
	}
	act := auditlog.Act{
		Action: "channel.delete", Target: "channel " + plan.Channel,
		Before: plan.Entry.Config, After: map[string]uint64{"undelivered": plan.Undelivered},
	}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		e, err := registry.Delete(ctx, plan.Channel, plan.Entry.Revision)
		if err == nil {
			plan.Deleted, plan.RestorableUntil = e.Deleted, e.Deleted.Add(channels.DeletedRetention)
		}
		return nil, err
	})
	return plan, err
}

// Purge deletes a channel as it was planned, removes all that belongs to it for good, and
// records that. It fails as channels.Registry.Purge does.
func (c *Client) Purge(ctx context.Context, plan Deletion) (Deletion, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return plan, err
	}
	act := auditlog.Act{
		Action: "channel.purge", Target: "channel " + plan.Channel,
		Before: plan.Entry.Config, After: map[string]uint64{"undelivered": plan.Undelivered},
	}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		return nil, registry.Purge(ctx, plan.Channel, plan.Entry.Revision)
	})
	plan.Purged = err == nil
	return plan, err
}

// Probed says what came of trying a channel's target at once.
type Probed struct {
	Channel    string            `json:"channel"`
	Partitions []channels.Probed `json:"partitions"`
}

// Probe has the workers of a channel try its target at once if they wait for it, and records
// that. It fails with channels.ErrNotFound, or with channels.ErrNoOwner.
func (c *Client) Probe(ctx context.Context, name string) (Probed, error) {
	out := Probed{Channel: name, Partitions: []channels.Probed{}}
	registry, err := c.Registry(ctx)
	if err != nil {
		return out, err
	}
	act := auditlog.Act{Action: "channel.probe", Target: "channel " + name}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		look := standing.Looker{JS: c.JS, Names: c.Names, Registry: registry}
		probed, err := look.Probe(ctx, name)
		out.Partitions = append(out.Partitions, probed...)
		return nil, err
	})
	return out, err
}
