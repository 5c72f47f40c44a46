package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
)

// channelStep is a command that does one thing to one channel.
type channelStep struct {
	use, short, long, example string
	step                      operate.Step
	done                      string // what it says then
}

func (s channelStep) command(sh *Shell) *cobra.Command {
	return channelCommand(sh, &cobra.Command{
		Use: s.use, Short: s.short, Long: s.long, Example: s.example, Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, client *operate.Client, args []string) (operate.ChannelConfig, string, error) {
		c, err := client.Change(ctx, args[0], s.step)
		return c, s.done, err
	})
}

// channelCommand completes a command that does something to a channel and shows it.
func channelCommand(sh *Shell, cmd *cobra.Command, do func(ctx context.Context, client *operate.Client, args []string) (c operate.ChannelConfig, done string, err error)) *cobra.Command {
	loader := brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
			c, done, err := do(ctx, client, args)
			if err != nil {
				return err
			}
			if sh.JSON {
				return sh.WriteJSON(c)
			}
			_, err = fmt.Fprintf(sh.Out, "%s: %s\n", c.Name, done)
			return err
		})
	}
	return cmd
}

func channelsPause(sh *Shell) *cobra.Command {
	return channelStep{
		step: operate.Pause, use: "pause NAME", short: "Hold a channel's deliveries back", example: "  extsync channels pause erp_db",
		long: "Hold a channel's deliveries back. Its updates are accepted and kept.", done: "paused; its updates are kept",
	}.command(sh)
}

func channelsResume(sh *Shell) *cobra.Command {
	return channelStep{
		step: operate.Resume, use: "resume NAME", short: "Let a paused channel's deliveries go on", example: "  extsync channels resume erp_db",
		long: "Let a paused channel's deliveries go on, with what was kept meanwhile.", done: "active",
	}.command(sh)
}

func channelsRestore(sh *Shell) *cobra.Command {
	return channelCommand(sh, &cobra.Command{
		Use: "restore NAME", Short: "Bring a deleted channel back with all it had", Args: cobra.ExactArgs(1), Example: "  extsync channels restore erp_db",
		Long: "Bring a deleted channel back with all it had, within 7 days of its deletion. One\nthat is not deleted stays as it is.",
	}, func(ctx context.Context, client *operate.Client, args []string) (operate.ChannelConfig, string, error) {
		done := "restored"
		registry, err := client.Registry(ctx)
		if err != nil {
			return operate.ChannelConfig{}, "", err
		}
		if e, err := registry.Get(ctx, args[0]); err == nil && e.Deleted.IsZero() {
			done = "nothing to do: it is not deleted"
		}
		c, err := client.Change(ctx, args[0], operate.Restore)
		return c, done, err
	})
}

func channelsClone(sh *Shell) *cobra.Command {
	return channelCommand(sh, &cobra.Command{
		Use: "clone NAME NEW", Short: "Make a channel like another one, paused", Args: cobra.ExactArgs(2), Example: `  extsync channels clone erp_db erp_test
  extsync channels show erp_test > erp_test.yaml   # change the target in it
  extsync channels apply -f erp_test.yaml`,
		Long: `Make a channel with the configuration of another one. No updates are copied. The
new channel is paused: it has the same target until that is changed. A channel that is
there already is not touched; 'extsync channels apply' changes one.`,
	}, func(ctx context.Context, client *operate.Client, args []string) (operate.ChannelConfig, string, error) {
		c, err := client.Clone(ctx, args[0], args[1])
		return c, "created like " + args[0] + ", paused", err
	})
}

const (
	// purgeTimeout bounds a purge: workers have half a minute to hand the channel over.
	purgeTimeout = 2 * time.Minute

	deleteHelp = `Stop publishes to a channel and its deliveries. The command says how many updates
are not delivered yet, and does nothing more without --yes. Everything is kept
for 7 days ('extsync channels restore'). What the target holds stays there.

With --purge nothing is kept: updates, ledger, parked updates and dead letters are
removed at once, for good, and the name is free. The channel's workers hand it over
first. That works for a channel that was deleted before, too.`
)

func channelsDelete(sh *Shell) *cobra.Command {
	var (
		yes, purge bool
		loader     *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a channel; it can be restored for 7 days",
		Long:  deleteHelp,
		Example: `  extsync channels delete erp_db
  extsync channels delete erp_db --yes
  extsync channels delete erp_test --purge --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.connected(cmd, loader, purgeTimeout, func(ctx context.Context, client *operate.Client) error {
				return sh.deleteChannel(ctx, client, args[0], yes, purge)
			})
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove all of it at once, for good")
	yesFlag(cmd, &yes)
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

func (sh *Shell) deleteChannel(ctx context.Context, client *operate.Client, name string, yes, purge bool) error {
	d, err := client.PlanDeletion(ctx, name)
	if err != nil {
		return err
	}
	switch {
	case !yes && purge:
		return unconfirmed("remove all of channel %s for good, with %s undelivered updates", name, &d.Backlog)
	case !yes:
		return unconfirmed("delete channel %s, which has %s undelivered updates", name, &d.Backlog)
	case purge:
		d, err = client.Purge(ctx, d)
	default:
		d, err = client.Delete(ctx, d)
	}
	if err != nil {
		return err
	}
	if sh.JSON {
		return sh.WriteJSON(d)
	}
	until := "it can be restored until " + timeText(d.RestorableUntil)
	if d.Purged {
		until = "for good"
	}
	_, err = fmt.Fprintf(sh.Out, "%s: deleted, with %s undelivered updates; %s\n", name, &d.Backlog, until)
	return err
}
