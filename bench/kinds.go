package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/bench/internal/compare"
)

const kindsHelp = `Kinds measures the connector of each kind against the smallest loop that writes the
same updates with the same library to the same server, without the rest of extsync.

It runs the benchmarks beside the kinds (bench_test.go of their packages), one after the
other: run it in the repository, with Go and the servers of the tests installed. Connector
and loop take turns in each round; the ratio is the connector's rate by that of the loop.
Plugins have no benchmark, and http is measured by the cases http-every, http-latest and
http-50ms.

All kinds take about a quarter of an hour.`

// kindsCommand measures connectors alone.
func kindsCommand() *cobra.Command {
	var o compare.KindsOptions
	cmd := &cobra.Command{
		Use:     "kinds",
		Short:   "Measure each kind of connector against the smallest loop",
		Long:    kindsHelp,
		Example: "  go run ./bench kinds\n  go run ./bench kinds --kind kafka,amqp --rounds 5",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = cmd.ErrOrStderr()
			report, failed := compare.Kinds(cmd.Context(), o)
			if err := report.Markdown(cmd.OutOrStdout()); err != nil {
				return err
			}
			return failed
		},
	}
	cmd.Flags().StringSliceVar(&o.Kinds, "kind", nil, "kinds to measure; all by default")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 3, "rounds of each, of which the median counts")
	cmd.Flags().StringVar(&o.Time, "time", (2 * time.Second).String(), "how long a round takes at least, or how often it is repeated, such as 1x")
	return cmd
}
