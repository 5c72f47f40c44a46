package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/channels"
)

// channelStep is a command that does one thing to one channel.
type channelStep struct {
	use, short, long, example string
	args                      int
	do                        func(ctx context.Context, r *channels.Registry, args []string) (entry channels.Entry, done string, err error)
	// action is what the audit log calls it. It concerns the last argument, and
	// the first one is there before.
	action string
}

func (s channelStep) command(sh *Shell) *cobra.Command {
	var loader *config.Loader
	cmd := &cobra.Command{
		Use: s.use, Short: s.short, Long: s.long, Example: s.example,
		Args: cobra.ExactArgs(s.args),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.withRegistry(cmd, loader, readTimeout, func(ctx context.Context, client *app.Client, r *channels.Registry) error {
				entry, done, err := s.recorded(ctx, client, r, args)
				if err != nil {
					return err
				}
				if sh.JSON {
					return sh.WriteJSON(view(entry))
				}
				_, err = fmt.Fprintf(sh.Out, "%s: %s\n", entry.Config.Name, done)
				return err
			})
		},
	}
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

// recorded does it, with a record in the audit log.
func (s channelStep) recorded(ctx context.Context, client *app.Client, r *channels.Registry, args []string) (entry channels.Entry, done string, err error) {
	before, err := r.Get(ctx, args[0])
	if err != nil {
		return before, "", err
	}
	act := auditlog.Act{Action: s.action, Target: "channel " + args[len(args)-1]}
	if s.args == 1 {
		act.Before = channelState(before)
	}
	err = client.Act(ctx, act, func(ctx context.Context) (any, error) {
		entry, done, err = s.do(ctx, r, args)
		return channelState(entry), err
	})
	return entry, done, err
}

// channelState is what these commands change, for the audit log.
func channelState(e channels.Entry) any {
	return struct {
		Paused  bool      `json:"paused"`
		Deleted time.Time `json:"deleted,omitzero"`
	}{e.Paused(), e.Deleted}
}

func channelsPause(sh *Shell) *cobra.Command {
	return channelStep{
		action: "channel.pause", use: "pause NAME", short: "Hold a channel's deliveries back", args: 1, example: "  extsync channels pause erp_db",
		long: "Hold a channel's deliveries back. Its updates are accepted and kept.",
		do: func(ctx context.Context, r *channels.Registry, args []string) (channels.Entry, string, error) {
			e, err := r.Pause(ctx, args[0])
			return e, "paused; its updates are kept", err
		},
	}.command(sh)
}

func channelsResume(sh *Shell) *cobra.Command {
	return channelStep{
		action: "channel.resume", use: "resume NAME", short: "Let a paused channel's deliveries go on", args: 1, example: "  extsync channels resume erp_db",
		long: "Let a paused channel's deliveries go on, with what was kept meanwhile.",
		do: func(ctx context.Context, r *channels.Registry, args []string) (channels.Entry, string, error) {
			e, err := r.Resume(ctx, args[0])
			return e, "active", err
		},
	}.command(sh)
}

func channelsRestore(sh *Shell) *cobra.Command {
	return channelStep{
		action: "channel.restore", use: "restore NAME", short: "Bring a deleted channel back with all it had", args: 1, example: "  extsync channels restore erp_db",
		long: "Bring a deleted channel back with all it had, within 7 days of its deletion.",
		do: func(ctx context.Context, r *channels.Registry, args []string) (channels.Entry, string, error) {
			e, err := r.Restore(ctx, args[0])
			return e, "restored", err
		},
	}.command(sh)
}

func channelsClone(sh *Shell) *cobra.Command {
	return channelStep{
		action: "channel.clone", use: "clone NAME NEW", short: "Make a channel like another one, paused", args: 2, example: `  extsync channels clone erp_db erp_test
  extsync channels show erp_test > erp_test.yaml   # change the target in it
  extsync channels apply -f erp_test.yaml`,
		long: `Make a channel with the configuration of another one. No updates are copied. The
new channel is paused: it has the same target until that is changed.`,
		do: func(ctx context.Context, r *channels.Registry, args []string) (channels.Entry, string, error) {
			e, err := r.Get(ctx, args[0])
			if err != nil {
				return e, "", err
			}
			if _, err := r.Get(ctx, args[1]); err == nil {
				return e, "", fmt.Errorf("%w: there is a channel %s already: give another name, or delete that one", errUsage, args[1])
			}
			cfg := e.Config
			cfg.Name, cfg.Paused = args[1], new(true)
			e, err = r.Put(ctx, cfg, 0)
			return e, "created like " + args[0] + ", paused", err
		},
	}.command(sh)
}

// channelDeleted is what delete tells.
type channelDeleted struct {
	channelView
	Undelivered uint64 `json:"undelivered"`
}

func channelsDelete(sh *Shell) *cobra.Command {
	var (
		yes    bool
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a channel; it can be restored for 7 days",
		Long: `Stop publishes to a channel and its deliveries. The command says how many updates
are not delivered yet, and does nothing more without --yes. Everything is kept
for 7 days ('extsync channels restore'). What the target holds stays there.`,
		Example: `  extsync channels delete erp_db
  extsync channels delete erp_db --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.withRegistry(cmd, loader, readTimeout, func(ctx context.Context, client *app.Client, r *channels.Registry) error {
				entry, err := r.Get(ctx, args[0])
				if err != nil {
					return err
				}
				backlog, err := r.Backlog(ctx, entry)
				if err != nil {
					return err
				}
				undelivered := backlog.Undelivered
				if !yes {
					return unconfirmed("delete channel %s, which has %s undelivered updates", args[0], &backlog)
				}
				act := auditlog.Act{
					Action: "channel.delete", Target: "channel " + args[0],
					Before: entry.Config, After: map[string]uint64{"undelivered": undelivered},
				}
				err = client.Act(ctx, act, func(ctx context.Context) (any, error) {
					entry, err = r.Delete(ctx, args[0], entry.Revision)
					return nil, err
				})
				if err != nil {
					return err
				}
				if sh.JSON {
					return sh.WriteJSON(channelDeleted{view(entry), undelivered})
				}
				_, err = fmt.Fprintf(sh.Out, "%s: deleted, with %s undelivered updates; it can be restored until %s\n",
					args[0], &backlog, timeText(entry.Deleted.Add(channels.DeletedRetention)))
				return err
			})
		},
	}
	yesFlag(cmd, &yes)
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}
