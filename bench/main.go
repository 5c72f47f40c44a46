// Bench measures extsync against the smallest loop that delivers the same updates
// without its guarantees. It is a program of its own, so that no program that runs
// in production carries databases for tests and faults to inject.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/bench/internal/compare"
)

const help = `Bench measures extsync against the smallest loop that delivers the same updates
without its guarantees (the floor), on this machine.

Broker, worker, loop and target are processes of their own. The two sides take
turns: each measurement of extsync is compared with those of the floor before and
after it, and the median of the rounds counts. Trust the ratios; the rates say more
about the machine. A case has no result if its target does not end as it should.

All cases take about half an hour. --quick shows in seconds that the benchmark
works; its figures mean nothing. The cases with PostgreSQL need its server installed.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// files are where a run leaves its results, besides standard output. Empty: nowhere.
type files struct{ json, markdown, benchstat, svg string }

func command() *cobra.Command {
	var o compare.Options
	var to files
	cmd := &cobra.Command{
		Use:           "bench",
		Long:          help + "Cases:\n\n" + caseList(),
		Example:       "  go run ./bench --quick\n  go run ./bench --case http-every,publish --rounds 3",
		Args:          cobra.NoArgs,
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = cmd.ErrOrStderr()
			return run(cmd.Context(), o, to, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringSliceVar(&o.Cases, "case", nil, "cases to run; all by default")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 5, "rounds of each case")
	cmd.Flags().BoolVar(&o.Quick, "quick", false, "small sizes and one round, to see that it works")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "directory for broker and databases; the system's temporary one by default")
	cmd.Flags().StringVar(&o.Profiles, "profiles", "", "directory for CPU profiles of each process")
	cmd.Flags().StringVar(&to.json, "json", "", "file for every measurement, as JSON")
	cmd.Flags().StringVar(&to.markdown, "markdown", "", "file for the tables of docs/performance.md")
	cmd.Flags().StringVar(&to.benchstat, "benchstat", "", "file for every measurement, in the format of benchstat")
	cmd.Flags().StringVar(&to.svg, "svg", "", "file for a picture of rate and memory")
	cmd.AddCommand(partCommand(), sizingCommand(), topicsCommand(), kindsCommand())
	cmd.CompletionOptions.DisableDefaultCmd = true
	return cmd
}

// partCommand is how the benchmark starts its processes.
func partCommand() *cobra.Command {
	return &cobra.Command{
		Use:    compare.PartCommand,
		Short:  "Be a part of the benchmark",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return compare.RunPart(cmd.Context(), args[0], cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

func caseList() string {
	var b strings.Builder
	for _, c := range compare.Cases(false) {
		fmt.Fprintf(&b, "  %-15s %s\n", c.Name, c.What)
	}
	return b.String()
}

// run measures, and writes what came out even if some cases have no result.
func run(ctx context.Context, o compare.Options, to files, out io.Writer) error {
	if o.Rounds < 1 {
		return fmt.Errorf("--rounds %d: give 1 or more", o.Rounds)
	}
	report, failed := compare.Run(ctx, o)
	if len(report.Results) == 0 {
		return failed
	}
	return errors.Join(failed,
		write(to.json, report.JSON), write(to.markdown, report.Markdown),
		write(to.benchstat, report.Benchstat), write(to.svg, report.SVG),
		report.Text(out))
}

// write writes a file if the user named one.
func write(path string, content func(io.Writer) error) (err error) {
	if path == "" {
		return nil
	}
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return content(f)
}
