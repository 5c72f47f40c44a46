package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Change is what Apply did to one channel, or would do.
type Change struct {
	Channel string          `json:"channel"`
	Change  channels.Change `json:"change"`
	// Revision of the registry's entry; 0 in a dry run that would create it.
	Revision uint64 `json:"revision,omitempty"`
	// Paused says that deliveries are held back. PausedBefore: they were before, too.
	Paused       bool `json:"paused,omitempty"`
	PausedBefore bool `json:"paused_before,omitempty"`
	// Drift is what was wrong with the channel's stream.
	Drift *channels.Drift `json:"drift,omitempty"`
}

// Applied is what Apply did, or would do.
type Applied struct {
	// Streams of all channels that were gone and were made again, empty.
	Streams  []channels.Loss `json:"streams"`
	Channels []Change        `json:"channels"`
}

// Apply provisions the broker and brings every channel to its configuration. All
// configurations are validated, and all storage is reserved, before a channel is
// changed. It stops at the first channel that fails; what was done before is returned
// with the error, and repeating is safe. While the broker elects a leader it waits,
// for half a minute at most. A dry run changes nothing and works on a broker that is
// not provisioned.
func (c *Client) Apply(ctx context.Context, configs []channels.Config, dryRun bool) (Applied, error) {
	out := Applied{Streams: []channels.Loss{}, Channels: []Change{}}
	if err := channels.ValidateAll(configs, c.Catalog); err != nil {
		return out, err
	}
	drifts := map[string]*channels.Drift{} // of existing channels, before anything is made
	if err := c.patiently(ctx, func(ctx context.Context) error {
		losses, found, err := c.reserve(ctx, configs, dryRun)
		for _, l := range losses { // what an earlier try has made is there in a later one
			if !slices.Contains(out.Streams, l) {
				out.Streams = append(out.Streams, l)
			}
		}
		for name, d := range found {
			if drifts[name] == nil {
				drifts[name] = d
			}
		}
		return err
	}); err != nil {
		return out, err
	}
	open := c.Registry
	if dryRun {
		open = func(ctx context.Context) (*channels.Registry, error) {
			return channels.ReadRegistry(ctx, c.JS, c.Names)
		}
	}
	var registry *channels.Registry
	err := c.patiently(ctx, func(ctx context.Context) (err error) {
		registry, err = open(ctx)
		return err
	})
	if dryRun && errors.Is(err, events.ErrNotProvisioned) {
		out.Channels = allCreated(configs)
		return out, nil
	}
	if err != nil {
		return out, err
	}
	for _, cfg := range configs {
		change := Change{Channel: cfg.Name}
		err := c.patiently(ctx, func(ctx context.Context) error {
			return c.apply(ctx, registry, cfg, drifts[cfg.Name], dryRun, &change)
		})
		if err != nil {
			return out, err
		}
		out.Channels = append(out.Channels, change)
	}
	return out, nil
}

// reserve looks at what is missing, and makes it unless it is a dry run.
func (c *Client) reserve(ctx context.Context, configs []channels.Config, dryRun bool) ([]channels.Loss, map[string]*channels.Drift, error) {
	drifts := map[string]*channels.Drift{}
	registry, err := channels.ReadRegistry(ctx, c.JS, c.Names)
	if err != nil && !errors.Is(err, events.ErrNotProvisioned) {
		return nil, nil, err
	}
	for _, cfg := range configs {
		if registry == nil {
			break
		}
		e, err := registry.Get(ctx, cfg.Name)
		if errors.Is(err, channels.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if _, err := e.Change(cfg); err != nil { // said before anything is made
			return nil, nil, err
		}
		if drifts[cfg.Name], err = registry.DriftOf(ctx, e); err != nil {
			return nil, nil, err
		}
	}
	if dryRun {
		losses, err := c.missing(ctx)
		return losses, drifts, err
	}
	losses, err := channels.Reserve(ctx, c.JS, c.Names, c.storage, configs)
	shared := []channels.Loss{}
	for _, l := range losses {
		if !c.Names.IsUpdateStream(l.Stream) { // the channel says so itself
			shared = append(shared, l)
		}
	}
	return shared, drifts, err
}

// missing returns the shared streams that are gone, none if the broker was never
// provisioned.
func (c *Client) missing(ctx context.Context) ([]channels.Loss, error) {
	drift, err := channels.SharedDrift(ctx, c.JS, c.Names, c.storage)
	if err != nil {
		return nil, err
	}
	losses := []channels.Loss{}
	for _, d := range drift {
		if d.Missing {
			losses = append(losses, channels.Loss{Stream: d.Stream, Lost: d.Lost})
		}
	}
	if len(losses) == channels.SharedStreams(c.Names) {
		return []channels.Loss{}, nil
	}
	return losses, nil
}

func allCreated(configs []channels.Config) []Change {
	changes := make([]Change, len(configs))
	for i, cfg := range configs {
		none := channels.Entry{}
		wanted := channels.Entry{Config: none.Wanted(cfg)}
		changes[i] = Change{Channel: cfg.Name, Change: channels.Created, Paused: wanted.Paused()}
	}
	return changes
}

// apply brings one channel to its configuration and says so in change, which is kept
// if it has to be done again: an answer may have been lost.
func (c *Client) apply(ctx context.Context, r *channels.Registry, cfg channels.Config, drift *channels.Drift, dryRun bool, change *Change) error {
	old, err := r.Get(ctx, cfg.Name)
	if err != nil && !errors.Is(err, channels.ErrNotFound) {
		return err
	}
	what, err := old.Change(cfg)
	if err != nil {
		return err
	}
	if change.Change == "" {
		change.Change, change.PausedBefore, change.Drift = what, old.Paused(), drift
		if what == channels.Unchanged && drift != nil {
			change.Change = channels.Mended
		}
	}
	next := channels.Entry{Config: old.Wanted(cfg)}
	change.Revision, change.Paused = old.Revision, next.Paused()
	if dryRun || change.Change == channels.Unchanged {
		return nil
	}
	act := auditlog.Act{Action: "channel.put", Target: "channel " + cfg.Name, After: next.Config}
	if old.Revision != 0 {
		act.Before = old.Config
	}
	if what == channels.Unchanged {
		act = auditlog.Act{Action: "channel.mend", Target: "channel " + cfg.Name, Before: drift}
	}
	return c.Act(ctx, act, func(ctx context.Context) (any, error) {
		if what == channels.Unchanged {
			return nil, r.Repair(ctx, old)
		}
		entry, err := r.Put(ctx, cfg, old.Revision)
		change.Revision = entry.Revision
		return nil, err
	})
}

const (
	// applyPatience is how long Apply waits, at each step, for a broker that elects a
	// leader.
	applyPatience = 30 * time.Second
	applyRetry    = time.Second
)

// patiently does something again, as long as the broker could not decide it but is
// there, and no longer than applyPatience.
func (c *Client) patiently(ctx context.Context, do func(context.Context) error) error {
	for started := time.Now(); ; {
		err := do(ctx)
		if !events.IsUnavailable(err) || ctx.Err() != nil || time.Since(started) > applyPatience {
			return err
		}
		c.log.Warn().Err(err).Msg("the broker could not decide, as while it elects a leader; trying again")
		if !sleep.For(ctx, applyRetry) {
			return err
		}
	}
}
