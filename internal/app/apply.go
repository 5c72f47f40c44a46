package app

import (
	"context"
	"errors"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Change is what Apply did to one channel, or would do.
type Change struct {
	Channel string          `json:"channel"`
	Change  channels.Change `json:"change"`
	// Revision of the registry's entry; 0 in a dry run that would create it.
	Revision uint64 `json:"revision,omitempty"`
}

// Apply provisions the broker and brings every channel to its configuration. All
// configurations are validated before anything is changed. It stops at the first
// channel that fails; what was done before is returned with the error, and
// repeating is safe. A dry run changes nothing and works on a broker that is not
// provisioned.
func (c *Client) Apply(ctx context.Context, configs []channels.Config, dryRun bool) ([]Change, error) {
	if err := channels.ValidateAll(configs, c.Catalog); err != nil {
		return nil, err
	}
	if !dryRun {
		if err := c.Provision(ctx); err != nil {
			return nil, err
		}
	}
	registry, err := c.Registry(ctx)
	if dryRun && errors.Is(err, events.ErrNotProvisioned) {
		return allCreated(configs), nil
	}
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, cfg := range configs {
		change, err := c.apply(ctx, registry, cfg, dryRun)
		if err != nil {
			return changes, err
		}
		changes = append(changes, change)
	}
	return changes, nil
}

func allCreated(configs []channels.Config) []Change {
	changes := make([]Change, len(configs))
	for i, cfg := range configs {
		changes[i] = Change{Channel: cfg.Name, Change: channels.Created}
	}
	return changes
}

func (c *Client) apply(ctx context.Context, r *channels.Registry, cfg channels.Config, dryRun bool) (Change, error) {
	change := Change{Channel: cfg.Name}
	old, err := r.Get(ctx, cfg.Name)
	if err != nil && !errors.Is(err, channels.ErrNotFound) {
		return change, err
	}
	change.Revision = old.Revision
	if change.Change, err = old.Change(cfg); err != nil || dryRun || change.Change == channels.Unchanged {
		return change, err
	}
	act := auditlog.Act{Action: "channel.put", Target: "channel " + cfg.Name, After: cfg}
	if old.Revision != 0 {
		act.Before = old.Config
	}
	err = c.Act(ctx, act, func(ctx context.Context) (any, error) {
		entry, err := r.Put(ctx, cfg, old.Revision)
		change.Revision = entry.Revision
		return nil, err
	})
	return change, err
}
