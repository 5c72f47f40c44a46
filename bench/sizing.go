package main

import (
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/bench/internal/compare"
)

const sizingHelp = `Sizing measures what a channel of many keys needs, and how long commands take there.

A channel in mode latest is imported from a file, delivered once into each target and
audited, all by processes of their own. The report is the table of docs/operations.md:
import, delivery and audit in keys a second, memory and disk of the broker, the median
of three audits and of five status and get, the start of their processes included.

A million keys need 4 GiB of disk and some minutes. PostgreSQL needs its server installed.`

// sizingCommand measures a channel of many keys.
func sizingCommand() *cobra.Command {
	var o compare.SizingOptions
	cmd := &cobra.Command{
		Use:     "sizing",
		Short:   "Measure what a channel of many keys needs",
		Long:    sizingHelp,
		Example: "  go run ./bench sizing\n  go run ./bench sizing --keys 1000000 --target sqlite",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = cmd.ErrOrStderr()
			report, err := compare.Sizing(cmd.Context(), o)
			if err != nil {
				return err
			}
			return report.Markdown(cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&o.Keys, "keys", 200_000, "keys of the channel")
	cmd.Flags().StringSliceVar(&o.Targets, "target", []string{"sqlite", "postgres"}, "targets, one after the other")
	cmd.Flags().StringVar(&o.Program, "extsync", "", "the built command extsync; built from this directory by default")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "directory for broker and databases; the system's temporary one by default")
	cmd.Flags().StringVar(&o.Profiles, "profiles", "", "directory for CPU profiles of broker, worker and audit")
	return cmd
}
