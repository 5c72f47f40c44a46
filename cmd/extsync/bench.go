package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/bench"
	"github.com/hms-utl/extsync/internal/cli"
)

const benchHelp = `Measure extsync against the smallest loop that delivers the same updates without
its guarantees, on this machine.

Broker, worker, loop and target are processes of their own, and the two sides take
turns: each B is compared with the As before and after it, and the median counts. The
rates depend on the machine. A case whose target does not end as it should is not
reported. The cases with PostgreSQL need its server installed. It takes about half an
hour; --quick shows in seconds that it works.`

func benchCommand(sh *cli.Shell) *cobra.Command {
	o := bench.Options{Progress: sh.Err}
	var benchstat, svg string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure extsync on this machine",
		Long:  benchHelp + "\n\nCases: " + strings.Join(bench.CaseNames(), ", ") + ".",
		Example: `  extsync bench --quick
  extsync bench --rounds 10 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, failed := bench.Run(cmd.Context(), o)
			if len(report.Results) == 0 {
				return failed
			}
			err := errors.Join(writeFile(benchstat, report.Benchstat), writeFile(svg, report.SVG))
			if sh.JSON {
				return errors.Join(failed, err, sh.WriteJSON(report))
			}
			return errors.Join(failed, err, report.Text(sh.Out))
		},
	}
	cmd.Flags().StringSliceVar(&o.Cases, "case", nil, "cases to run; all by default")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 5, "rounds of each case")
	cmd.Flags().BoolVar(&o.Quick, "quick", false, "small sizes and one round, to see that it works")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "directory for broker and databases; the system's temporary one by default")
	cmd.Flags().StringVar(&o.Profiles, "profiles", "", "directory for CPU profiles")
	cmd.Flags().StringVar(&benchstat, "benchstat", "", "file for the measurements in the format of benchstat")
	cmd.Flags().StringVar(&svg, "svg", "", "file for a picture of rate and memory")
	cmd.AddCommand(benchPartCommand(sh))
	return cmd
}

// benchPartCommand is how the benchmark starts its processes.
func benchPartCommand(sh *cli.Shell) *cobra.Command {
	return &cobra.Command{
		Use:    strings.Fields(bench.PartCommand)[1],
		Short:  "Be a part of the benchmark",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return bench.RunPart(cmd.Context(), args[0], sh.In, sh.Out)
		},
	}
}

// writeFile writes a file, if one is asked for.
func writeFile(path string, write func(io.Writer) error) (err error) {
	if path == "" {
		return nil
	}
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f)
}
