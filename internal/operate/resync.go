package operate

import (
	"context"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/pkg/channels"
)

// A Resync is how far a channel's resync is.
type Resync struct {
	Channel string `json:"channel"`
	// DryRun: nothing was started; Total keys would be looked at.
	DryRun bool                 `json:"dry_run,omitempty" doc:"Nothing was started; total keys would be looked at"`
	ID     string               `json:"id,omitempty"`
	State  channels.ResyncState `json:"state,omitempty" enum:"running,paused,stopped,done"`
	channels.Selection
	Started time.Time `json:"started,omitzero"`
	// ChannelPaused: nothing of it is done before the channel is resumed.
	ChannelPaused bool   `json:"channel_paused,omitempty" doc:"The channel is paused: the resync begins, or goes on, when it is resumed"`
	Total         uint64 `json:"total" doc:"Keys that are looked at"`
	Looked        uint64 `json:"looked" doc:"The sum of delivered, skipped and failed"`
	Delivered     uint64 `json:"delivered"`
	Skipped       uint64 `json:"skipped" doc:"A newer version is on its way, or has an outcome"`
	Failed        uint64 `json:"failed"`
	// Failures are the first of each partition.
	Failures []channels.ResyncFailure `json:"failures" doc:"The first of each partition"`
}

// A ResyncStep is something that is done to the resync that is under way.
type ResyncStep string

// The steps.
const (
	PauseResync  ResyncStep = "pause"
	ResumeResync ResyncStep = "resume"
	StopResync   ResyncStep = "stop"
)

// StartResync has the workers of a channel deliver current versions again, and records
// that. It fails with channels.ErrNotFound, channels.ErrResyncActive,
// channels.ErrNothingKept or channels.ErrSelection.
func (c *Client) StartResync(ctx context.Context, channel string, s channels.Selection) (Resync, error) {
	if err := s.Validate(); err != nil {
		return Resync{}, err
	}
	return c.actOnResync(ctx, channel, "start", s, func(ctx context.Context, r *channels.Registry) error {
		if err := r.CheckKeys(ctx, channel, s.Keys); err != nil {
			return err
		}
		_, err := r.StartResync(ctx, channel, s)
		return err
	})
}

// ChangeResync takes a step with the resync that is under way, and records that. It fails
// with channels.ErrNoResync if none is.
func (c *Client) ChangeResync(ctx context.Context, channel string, step ResyncStep) (Resync, error) {
	state := map[ResyncStep]channels.ResyncState{
		PauseResync: channels.ResyncPaused, ResumeResync: channels.ResyncRunning, StopResync: channels.ResyncStopped,
	}[step]
	return c.actOnResync(ctx, channel, string(step), nil, func(ctx context.Context, r *channels.Registry) error {
		_, err := r.SetResync(ctx, channel, state)
		return err
	})
}

func (c *Client) actOnResync(ctx context.Context, channel, action string, after any, do func(context.Context, *channels.Registry) error) (Resync, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return Resync{}, err
	}
	act := auditlog.Act{Action: "resync." + action, Target: "channel " + channel, After: after}
	if err := c.Act(ctx, act, func(ctx context.Context) (any, error) { return nil, do(ctx, registry) }); err != nil {
		return Resync{}, err
	}
	return c.Resync(ctx, channel)
}

// Resync tells how far the last resync of a channel is. It fails with channels.ErrNotFound
// or with channels.ErrNoResync.
func (c *Client) Resync(ctx context.Context, channel string) (Resync, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return Resync{}, err
	}
	status, err := registry.ResyncStatus(ctx, channel)
	if err != nil {
		return Resync{}, err
	}
	entry, err := registry.Get(ctx, channel)
	if err != nil {
		return Resync{}, err
	}
	return Resync{
		Channel: channel, ChannelPaused: entry.Paused(), ID: status.ID, State: status.State, Selection: status.Selection, Started: status.Started,
		Total: status.Total, Looked: status.Looked(), Delivered: status.Delivered, Skipped: status.Skipped, Failed: status.Failed,
		Failures: append([]channels.ResyncFailure{}, status.Failures...),
	}, nil
}

// PlanResync says how many keys StartResync would look at, and fails as that does.
func (c *Client) PlanResync(ctx context.Context, channel string, s channels.Selection) (Resync, error) {
	registry, err := c.Registry(ctx)
	if err != nil {
		return Resync{}, err
	}
	if err := registry.CheckKeys(ctx, channel, s.Keys); err != nil {
		return Resync{}, err
	}
	total, err := registry.CountResync(ctx, channel, s)
	return Resync{Channel: channel, DryRun: true, Selection: s, Total: total, Failures: []channels.ResyncFailure{}}, err
}
