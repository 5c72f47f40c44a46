package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/channels"
)

const resyncHelp = `Deliver the current version of every key again, of some keys, or of those that
begin with a prefix. Live updates go ahead. It is for a target that has lost
data, or that was restored from a backup.

The workers do it: the command shows how far they are, and may be interrupted
and started again with --follow. --pause, --resume and --stop are for the resync
that is under way. Channels of mode every keep nothing to deliver again.`

type resyncFlags struct {
	channels.Selection
	dryRun, follow, detach, pause, resume, stop bool
}

// ResyncCommand returns the command that delivers current versions again.
func ResyncCommand(sh *Shell) *cobra.Command {
	var (
		f      resyncFlags
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "resync CHANNEL",
		Short: "Deliver the current versions again",
		Long:  resyncHelp,
		Example: `  extsync resync erp_db --dry-run
  extsync resync erp_db --key p-2023-vax --key p-2024-flu
  extsync resync erp_db --key-prefix p-2023-
  extsync resync erp_db --follow`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.withRegistry(cmd, loader, 0, func(ctx context.Context, client *app.Client, r *channels.Registry) error {
				return resync(ctx, sh, client, r, args[0], f)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.Keys, "key", nil, "this key only; may be repeated")
	flags.StringVar(&f.Prefix, "key-prefix", "", "keys that begin with this only")
	flags.BoolVar(&f.dryRun, "dry-run", false, "count the keys, change nothing")
	flags.BoolVar(&f.follow, "follow", false, "start nothing; show how far the last one is, until its end")
	flags.BoolVar(&f.detach, "detach", false, "start it and do not wait for its end")
	flags.BoolVar(&f.pause, "pause", false, "hold the one that is under way")
	flags.BoolVar(&f.resume, "resume", false, "let the one that is held go on")
	flags.BoolVar(&f.stop, "stop", false, "end the one that is under way")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "follow", "detach", "pause", "resume", "stop")
	cmd.MarkFlagsMutuallyExclusive("key", "key-prefix")
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

func resync(ctx context.Context, sh *Shell, client *app.Client, r *channels.Registry, channel string, f resyncFlags) error {
	switch {
	case f.dryRun:
		return countResync(ctx, sh, r, channel, f.Selection)
	case f.follow:
		return followResync(ctx, sh, r, channel)
	case f.pause:
		return setResync(ctx, sh, client, r, channel, "pause", channels.ResyncPaused)
	case f.resume:
		return setResync(ctx, sh, client, r, channel, "resume", channels.ResyncRunning)
	case f.stop:
		return setResync(ctx, sh, client, r, channel, "stop", channels.ResyncStopped)
	}
	act := auditlog.Act{Action: "resync.start", Target: "channel " + channel, After: f.Selection}
	err := client.Act(ctx, act, func(ctx context.Context) (any, error) {
		_, err := r.StartResync(ctx, channel, f.Selection)
		return nil, err
	})
	if err != nil {
		return err
	}
	if f.detach {
		return writeResync(ctx, sh, r, channel)
	}
	return followResync(ctx, sh, r, channel)
}

func countResync(ctx context.Context, sh *Shell, r *channels.Registry, channel string, s channels.Selection) error {
	n, err := r.CountResync(ctx, channel, s)
	if err != nil {
		return err
	}
	if sh.JSON {
		return sh.WriteJSON(struct {
			Channel string `json:"channel"`
			DryRun  bool   `json:"dry_run"`
			Total   uint64 `json:"total"`
		}{channel, true, n})
	}
	_, err = fmt.Fprintf(sh.Out, "%s: %d keys would be looked at (dry run)\n", channel, n)
	return err
}

func setResync(ctx context.Context, sh *Shell, client *app.Client, r *channels.Registry, channel, action string, state channels.ResyncState) error {
	act := auditlog.Act{Action: "resync." + action, Target: "channel " + channel}
	err := client.Act(ctx, act, func(ctx context.Context) (any, error) {
		_, err := r.SetResync(ctx, channel, state)
		return nil, err
	})
	if err != nil {
		return err
	}
	return writeResync(ctx, sh, r, channel)
}

// resyncLook is how often a resync is looked at.
const resyncLook = 500 * time.Millisecond

// followResync shows how far a resync is until it ends, or is held. Interrupting
// it does not stop the resync.
func followResync(ctx context.Context, sh *Shell, r *channels.Registry, channel string) error {
	tick := time.NewTicker(resyncLook)
	defer tick.Stop()
	var bar *progress
	for {
		status, err := r.ResyncStatus(ctx, channel)
		if err != nil {
			return err
		}
		if bar == nil {
			bar = sh.progress("keys", int64(status.Total)) //nolint:gosec // a stream has fewer messages
			defer bar.end()
		}
		bar.set(int64(status.Looked())) //nolint:gosec // likewise
		if status.State != channels.ResyncRunning {
			bar.end()
			return writeResync(ctx, sh, r, channel)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// resynced is what resync tells.
type resynced struct {
	Channel string `json:"channel"`
	channels.ResyncStatus
}

func writeResync(ctx context.Context, sh *Shell, r *channels.Registry, channel string) error {
	status, err := r.ResyncStatus(ctx, channel)
	if err != nil {
		return err
	}
	if sh.JSON {
		err = sh.WriteJSON(resynced{channel, status})
	} else {
		text := fmt.Sprintf("%s: resync %s: %d of %d keys, %d delivered, %d skipped, %d failed\n", channel,
			status.State, status.Looked(), status.Total, status.Delivered, status.Skipped, status.Failed)
		for _, f := range status.Failures {
			text += "  " + clean(f.Key+" "+f.Version+reason(f.Class, f.Code, f.Message)) + "\n"
			if f.Response != "" {
				text += "    answer: " + clean(f.Response) + "\n"
			}
		}
		_, err = io.WriteString(sh.Out, text)
	}
	if err == nil && status.Failed > 0 {
		return fmt.Errorf("%w: %d keys", errUndelivered, status.Failed)
	}
	return err
}
