package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
)

const resyncHelp = `Deliver the current version of every key again, of some keys, or of those that
begin with a prefix. Live updates go ahead. It is for a target that has lost
data, or that was restored from a backup.

The workers do it: the command shows how far they are, and may be interrupted
and started again with --follow. --sync, --health, --why and --older-than select
keys by how they stand: that is a job ('extsync jobs'), which needs --yes. --pause, --resume and --stop are for the resync
that is under way. Channels of mode every keep nothing to deliver again.`

type resyncFlags struct {
	channels.Selection
	dryRun, follow, detach, pause, resume, stop bool

	syncs, healths, codes []string
	olderThan             string
	job                   jobFlags
}

// filters reports whether keys are selected by how they stand: that is a job.
func (f *resyncFlags) filters() bool {
	return len(f.syncs)+len(f.healths)+len(f.codes) > 0 || f.olderThan != ""
}

func (f *resyncFlags) entities(channel string) (*jobs.Entities, error) {
	q := operate.ListQuery{Limit: 1}
	if err := standingsOf(&q, f.syncs, f.healths, f.codes); err != nil {
		return nil, err
	}
	return &jobs.Entities{Channel: channel, Prefix: f.Prefix, Keys: f.Keys, Sync: q.Sync, Health: q.Health, Why: q.Why, OlderThan: f.olderThan}, nil
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
			return sh.connected(cmd, loader, 0, func(ctx context.Context, client *operate.Client) error {
				return resync(ctx, sh, client, args[0], f)
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
	flags.StringSliceVar(&f.syncs, "sync", nil, "keys of which the target holds this only, see 'extsync entities'; several with commas")
	flags.StringSliceVar(&f.healths, "health", nil, "keys that stand so only; several with commas")
	flags.StringSliceVar(&f.codes, "why", nil, "keys with these codes of reasons only, with commas")
	flags.StringVar(&f.olderThan, "older-than", "", "keys that have been so for longer only, such as 2h or 7d")
	flags.BoolVar(&f.job.yes, "yes", false, "with keys that are selected by how they stand: do it")
	flags.StringVar(&f.job.reason, "reason", "", "with such keys: why, for the audit log")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "follow", "detach", "pause", "resume", "stop")
	cmd.MarkFlagsMutuallyExclusive("key", "key-prefix")
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

func resync(ctx context.Context, sh *Shell, client *operate.Client, channel string, f resyncFlags) error {
	var r operate.Resync
	var err error
	switch {
	case f.filters():
		entities, err := f.entities(channel)
		if err != nil {
			return err
		}
		f.job.dryRun = f.dryRun
		return startJob(ctx, sh, client, operate.JobRequest{Action: jobs.Resync, Entities: entities, Reason: f.job.reason}, f.job, "keys")
	case f.follow:
		return followResync(ctx, sh, client, channel)
	case f.dryRun:
		r, err = client.PlanResync(ctx, channel, f.Selection)
	case f.pause:
		r, err = client.ChangeResync(ctx, channel, operate.PauseResync)
	case f.resume:
		r, err = client.ChangeResync(ctx, channel, operate.ResumeResync)
	case f.stop:
		r, err = client.ChangeResync(ctx, channel, operate.StopResync)
	default:
		if r, err = client.StartResync(ctx, channel, f.Selection); err == nil && !f.detach {
			return followResync(ctx, sh, client, channel)
		}
	}
	if err != nil {
		return err
	}
	return writeResync(sh, r)
}

// resyncLook is how often a resync is looked at.
const resyncLook = 500 * time.Millisecond

// followResync shows how far a resync is until it ends, or is held. Interrupting
// it does not stop the resync.
func followResync(ctx context.Context, sh *Shell, client *operate.Client, channel string) error {
	sh.goOn = "the workers go on all the same; 'extsync resync " + channel + " --follow' shows how far they are, --pause holds them, --stop ends it"
	tick := time.NewTicker(resyncLook)
	defer tick.Stop()
	var bar *progress
	said := false
	for {
		r, err := client.Resync(ctx, channel)
		if err != nil {
			return err
		}
		if bar == nil {
			bar = sh.progress("keys", int64(r.Total)) //nolint:gosec // a stream has fewer messages
			defer bar.end()
		}
		bar.set(int64(r.Looked)) //nolint:gosec // likewise
		if r.ChannelPaused && r.State == channels.ResyncRunning && !said {
			said = true
			if _, err := io.WriteString(sh.Err, pausedText(channel)); err != nil {
				return err
			}
		}
		if r.State != channels.ResyncRunning {
			bar.end()
			if err := writeResync(sh, r); err != nil || r.Failed == 0 {
				return err
			}
			return fmt.Errorf("%w: %d keys", errUndelivered, r.Failed)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func writeResync(sh *Shell, r operate.Resync) error {
	var err error
	switch {
	case sh.JSON:
		err = sh.WriteJSON(r)
	case r.DryRun:
		_, err = fmt.Fprintf(sh.Out, "%s: %d keys would be looked at (dry run)\n", r.Channel, r.Total)
	default:
		text := fmt.Sprintf("%s: resync %s: %d of %d keys, %d delivered, %d skipped, %d failed\n", r.Channel,
			r.State, r.Looked, r.Total, r.Delivered, r.Skipped, r.Failed)
		if r.ChannelPaused && (r.State == channels.ResyncRunning || r.State == channels.ResyncPaused) {
			text += pausedText(r.Channel)
		}
		for _, f := range r.Failures {
			text += "  " + clean(f.Key+" "+f.Version+reason(f.Class, f.Code, f.Message)) + "\n"
			if f.Response != "" {
				text += "    answer: " + clean(f.Response) + "\n"
			}
		}
		_, err = io.WriteString(sh.Out, text)
	}
	return err
}

// pausedText says what a resync of a paused channel waits for.
func pausedText(channel string) string {
	return fmt.Sprintf("%s is paused: the resync begins, or goes on, when the channel is resumed ('extsync channels resume %s')\n", channel, channel)
}
