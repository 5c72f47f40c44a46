package main

import (
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/bench/internal/compare"
)

const topicsHelp = `Topics measures what it costs that many channels read one topic, beside the same
channels with streams of their own, and how a channel that is added later gets what is there.

The first table has the CPU time of publisher, broker and worker for each delivery, over
HTTP: from one topic, and from as many streams, each of which is published to. The second
has how fast a new channel is filled, how much memory that takes, and how long an update
takes to its ack that is published meanwhile, beside one that is published afterwards; its
target takes 5 ms for each call.`

// topicsCommand measures topics.
func topicsCommand() *cobra.Command {
	var o compare.TopicsOptions
	cmd := &cobra.Command{
		Use:     "topics",
		Short:   "Measure channels that read a topic",
		Long:    topicsHelp,
		Example: "  go run ./bench topics\n  go run ./bench topics --keys 1000000 --updates 50000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = cmd.ErrOrStderr()
			report, err := compare.Topics(cmd.Context(), o)
			if err != nil {
				return err
			}
			return report.Markdown(cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntSliceVar(&o.Channels, "channels", []int{1, 5, 20}, "how many channels read the topic, one measurement after the other")
	cmd.Flags().IntVar(&o.Updates, "updates", 100_000, "deliveries of each measurement, of all channels together")
	cmd.Flags().IntVar(&o.Keys, "keys", 200_000, "keys that the topic has when a channel is added")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "directory for the broker; the system's temporary one by default")
	return cmd
}
