package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Change is what Apply did to one channel, or would do.
type Change struct {
	Channel string          `json:"channel"`
	Change  channels.Change `json:"change"`
	// Revision of the registry's entry; 0 in a dry run that would create it.
	Revision uint64 `json:"revision,omitempty" doc:"Of the registry's entry; none in a dry run that would create it"`
	// Fields of the configuration that got another value, in the order of their names.
	Fields []FieldChange `json:"fields" doc:"Those that got another value"`
	// Paused says that deliveries are held back. PausedBefore: they were before, too.
	Paused       bool `json:"paused" doc:"Deliveries are held back"`
	PausedBefore bool `json:"paused_before" doc:"They were before"`
	// Drift is what was wrong with the channel's stream.
	Drift *channels.Drift `json:"drift,omitempty" doc:"What was wrong with the channel's stream"`
}

// Applied is what Apply did, or would do.
type Applied struct {
	DryRun bool `json:"dry_run"`
	// Streams of all channels that were gone and were made again, empty.
	Streams  []channels.Loss `json:"streams"`
	Topics   []TopicChange   `json:"topics"`
	Channels []Change        `json:"channels"`
	// Pruned are the channels that Prune deleted, or would.
	Pruned []string `json:"pruned,omitempty"`
}

// Changes reports whether anything was changed, or would be.
func (a *Applied) Changes() bool {
	return len(a.Streams) > 0 || slices.ContainsFunc(a.Topics, func(c TopicChange) bool { return c.Change != channels.Unchanged }) || slices.ContainsFunc(a.Channels, func(c Change) bool { return c.Change != channels.Unchanged })
}

// Apply provisions the broker and brings every topic, then every channel to its
// configuration. All configurations are validated, and all storage is reserved, before
// anything is changed. It stops at the first that fails; what was done before is returned
// with the error, and repeating is safe. While the broker elects a leader it waits,
// for half a minute at most. A dry run changes nothing and works on a broker that is
// not provisioned.
func (c *Client) Apply(ctx context.Context, file channels.File, dryRun bool) (Applied, error) {
	out := Applied{DryRun: dryRun, Streams: []channels.Loss{}, Topics: []TopicChange{}, Channels: []Change{}}
	if err := file.Validate(c.Catalog); err != nil {
		return out, err
	}
	drifts := map[string]*channels.Drift{} // of existing channels, before anything is made
	if err := c.patiently(ctx, func(ctx context.Context) error {
		losses, found, err := c.reserve(ctx, file, dryRun)
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
		return out, out.allCreated(file)
	}
	if err != nil {
		return out, err
	}
	if out.Topics, err = c.applyTopics(ctx, registry, file.Topics, dryRun); err != nil {
		return out, err
	}
	for _, cfg := range file.Channels {
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
func (c *Client) reserve(ctx context.Context, file channels.File, dryRun bool) ([]channels.Loss, map[string]*channels.Drift, error) {
	drifts := map[string]*channels.Drift{}
	registry, err := channels.ReadRegistry(ctx, c.JS, c.Names)
	if err != nil && !errors.Is(err, events.ErrNotProvisioned) {
		return nil, nil, err
	}
	for _, cfg := range file.Channels {
		if err := checkTopic(ctx, registry, &file, &cfg); err != nil {
			return nil, nil, err
		}
		if registry == nil {
			continue
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
	losses, err := channels.Reserve(ctx, c.JS, c.Names, c.storage, file)
	shared := []channels.Loss{}
	for _, l := range losses {
		if !wire.IsUpdateStream(c.Names, l.Stream) { // the channel says so itself
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

// checkTopic checks that the topic is there which a channel reads, or will be by the file.
// registry is nil if there is none.
func checkTopic(ctx context.Context, registry *channels.Registry, file *channels.File, cfg *channels.Config) error {
	if cfg.From == nil || file.Has(cfg.From.Topic) {
		return nil
	}
	var err error = &channels.TopicNotFoundError{Name: cfg.From.Topic}
	if registry != nil {
		_, err = registry.Topic(ctx, cfg.From.Topic)
	}
	if err != nil {
		return fmt.Errorf("channel %s: from: %w", cfg.Name, err)
	}
	return nil
}

// allCreated notes that all of a file would be made.
func (a *Applied) allCreated(file channels.File) error {
	for _, t := range file.Topics {
		a.Topics = append(a.Topics, TopicChange{Topic: t.Name, Change: channels.Created})
	}
	for _, cfg := range file.Channels {
		change, err := changeOf(channels.Entry{}, cfg, nil)
		if err != nil {
			return err
		}
		a.Channels = append(a.Channels, change)
	}
	return nil
}

// changeOf says what it takes to bring a channel to a configuration.
func changeOf(old channels.Entry, cfg channels.Config, drift *channels.Drift) (Change, error) {
	wanted := channels.Entry{Config: old.Wanted(cfg)}
	out := Change{Channel: cfg.Name, Revision: old.Revision, Fields: []FieldChange{}, Paused: wanted.Paused(), PausedBefore: old.Paused(), Drift: drift}
	var err error
	if out.Change, err = old.Change(cfg); err != nil {
		return out, err
	}
	switch {
	case out.Change != channels.Unchanged:
		out.Fields, err = fieldChanges(old, wanted.Config)
	case drift != nil:
		out.Change = channels.Mended
	}
	return out, err
}

// Put brings one channel to its configuration, which is valid, as Apply does; the broker is
// provisioned. may is asked whether it may be done, by the revision of the entry that is
// there: 0 for none.
func (c *Client) Put(ctx context.Context, cfg channels.Config, dryRun bool, may func(revision uint64) error) (Change, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return Change{}, err
	}
	old, err := registry.Get(ctx, cfg.Name)
	if err != nil && !errors.Is(err, channels.ErrNotFound) {
		return Change{}, err
	}
	if err := may(old.Revision); err != nil {
		return Change{}, err
	}
	var drift *channels.Drift
	if old.Revision != 0 {
		if drift, err = registry.DriftOf(ctx, old); err != nil {
			return Change{}, err
		}
	}
	change, err := changeOf(old, cfg, drift)
	if err != nil || dryRun {
		return change, err
	}
	err = c.put(ctx, registry, old, cfg, &change)
	return change, err
}

// apply brings one channel to its configuration and says so in change, which is kept
// if it has to be done again: an answer may have been lost.
func (c *Client) apply(ctx context.Context, r *channels.Registry, cfg channels.Config, drift *channels.Drift, dryRun bool, change *Change) error {
	old, err := r.Get(ctx, cfg.Name)
	if err != nil && !errors.Is(err, channels.ErrNotFound) {
		return err
	}
	if change.Change == "" {
		if *change, err = changeOf(old, cfg, drift); err != nil {
			return err
		}
	}
	change.Revision = old.Revision
	if dryRun {
		return nil
	}
	return c.put(ctx, r, old, cfg, change)
}

// put does what change says, unless that was done.
func (c *Client) put(ctx context.Context, r *channels.Registry, old channels.Entry, cfg channels.Config, change *Change) error {
	if change.Change == channels.Unchanged {
		return nil
	}
	what, err := old.Change(cfg)
	if err != nil {
		return err
	}
	next := channels.Entry{Config: old.Wanted(cfg)}
	act := auditlog.Act{Action: "channel.put", Target: "channel " + cfg.Name, After: next.Config}
	if old.Revision != 0 {
		act.Before = old.Config
	}
	if what == channels.Unchanged {
		act = auditlog.Act{Action: "channel.mend", Target: "channel " + cfg.Name, Before: change.Drift}
	}
	return c.Act(ctx, act, func(ctx context.Context) (any, error) {
		if what == channels.Unchanged {
			return nil, r.Repair(ctx, old)
		}
		entry, err := r.Put(ctx, cfg, old.Revision)
		change.Revision = entry.Revision
		return auditlog.Revised{Revision: entry.Revision}, err
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
		if !wire.IsUnavailable(err) || ctx.Err() != nil || time.Since(started) > applyPatience {
			return err
		}
		c.log.Warn().Err(err).Msg("the broker could not decide, as while it elects a leader; trying again")
		if !sleep.For(ctx, applyRetry) {
			return err
		}
	}
}

// Unnamed returns the channels that none of the configurations is of, but for those that are
// deleted: what Prune would delete. A broker that is not provisioned has none.
func (c *Client) Unnamed(ctx context.Context, configs []channels.Config) ([]channels.Entry, error) {
	registry, err := channels.ReadRegistry(ctx, c.JS, c.Names)
	if errors.Is(err, events.ErrNotProvisioned) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := registry.List(ctx)
	return slices.DeleteFunc(all, func(e channels.Entry) bool {
		return !e.Deleted.IsZero() || slices.ContainsFunc(configs, func(c channels.Config) bool { return c.Name == e.Config.Name })
	}), err
}

// Prune deletes channels, as Registry.Delete does, and notes them in what was applied: they
// can be restored. Nothing is deleted where that was a dry run.
func (c *Client) Prune(ctx context.Context, entries []channels.Entry, applied *Applied) error {
	for _, e := range entries {
		if !applied.DryRun {
			if _, err := c.Delete(ctx, Deletion{Channel: e.Config.Name, Entry: e}); err != nil {
				return err
			}
		}
		applied.Pruned = append(applied.Pruned, e.Config.Name)
	}
	return nil
}
