package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
)

func channelsReload(sh *Shell) *cobra.Command {
	return channelStep{
		step: operate.Reload, use: "reload NAME", short: "Have the workers read a channel's secrets again", example: "  extsync channels reload erp_db",
		long: `Have every worker open the channel's connector anew, so that it reads its secrets
again. Deliveries go on meanwhile. Workers do this by themselves when a file
that the channel refers to changes, and before they try a target again that
refuses them. A variable of a worker's environment changes only when the worker
is restarted.`,
		done: "its workers open the connector anew",
	}.command(sh)
}

func channelsProbe(sh *Shell) *cobra.Command {
	var loader *config.Loader
	cmd := &cobra.Command{
		Use:   "probe NAME",
		Short: "Try a target at once that a channel waits for",
		Long: `Have all workers of a channel try its target at once if they wait for it: with the
next update that is due, and secrets that were read again. A wait that the target
has asked for ends, too. The answer says what came of it. Where calls flow nothing
is tried.`,
		Example: "  extsync channels probe erp_db",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				doc, err := client.Probe(ctx, args[0])
				if err != nil {
					return err
				}
				if sh.JSON {
					return sh.WriteJSON(doc)
				}
				return writeProbed(sh, doc)
			})
		},
	}
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

func writeProbed(sh *Shell, doc operate.Probed) error {
	rows := make([][]string, len(doc.Partitions))
	for i, p := range doc.Partitions {
		why := p.Reason
		if p.Error != "" {
			why = p.Error
		}
		rows[i] = []string{strconv.Itoa(p.Partition), p.Worker, p.Circuit, timeText(p.NextProbe), why}
	}
	return writeTable(sh.Out, []string{"PARTITION", "WORKER", "CIRCUIT", "NEXT PROBE", "REASON"}, rows)
}
