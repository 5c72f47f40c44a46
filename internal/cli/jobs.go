package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/operate"
)

// jobFlags say how a job is started.
type jobFlags struct {
	yes, dryRun bool
	reason      string
}

func (f *jobFlags) declare(cmd *cobra.Command) {
	yesFlag(cmd, &f.yes)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "do nothing; say what would happen")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for the audit log")
}

// JobsCommand returns the commands about jobs.
func JobsCommand(sh *Shell) *cobra.Command {
	cmd := Group("jobs", "List, show and stop jobs", jobsList(sh), jobsShow(sh), jobsStop(sh))
	cmd.Long = `A job is long work on many dead letters or keys: 'extsync dead replay' and 'dead
discard' with flags, and 'extsync resync' by how keys stand, are jobs, and so is
what people start in the console. Its record is at the broker: when whoever runs
it is killed, a server in the role admin goes on where it stands.`
	return cmd
}

func jobsList(sh *Shell) *cobra.Command {
	var (
		limit  int
		cursor string
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List jobs, the latest first", Long: "List jobs of the last 30 days, the latest first.",
		Example: "  extsync jobs list\n  extsync jobs list --limit 200 --json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > jobs.MaxPage {
				return fmt.Errorf("%w: --limit: %d is outside 1..%d", errUsage, limit, jobs.MaxPage)
			}
			return sh.withJobs(cmd, loader, func(ctx context.Context, _ *operate.Client, store *jobs.Store) error {
				page, err := store.List(ctx, limit, cursor, nil)
				if err != nil {
					return err
				}
				return writeJobs(sh, page)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most")
	cmd.Flags().StringVar(&cursor, "cursor", "", "go on where the page before has ended")
	loader = brokerFlags(cmd)
	return cmd
}

func (sh *Shell) withJobs(cmd *cobra.Command, loader *config.Loader, do func(context.Context, *operate.Client, *jobs.Store) error) error {
	return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
		store, err := client.Jobs(ctx)
		if err != nil {
			return err
		}
		return do(ctx, client, store)
	})
}

func writeJobs(sh *Shell, page jobs.Page) error {
	if sh.JSON {
		return sh.WriteJSON(page)
	}
	rows := make([][]string, len(page.Jobs))
	for i, j := range page.Jobs {
		rows[i] = []string{j.ID, timeText(j.Created), string(j.Action), j.Channel, string(j.State), fmt.Sprintf("%d of %d", j.Done, j.Total), j.Actor, clean(j.Reason)}
	}
	err := writeTable(sh.Out, []string{"JOB", "STARTED", "ACTION", "CHANNEL", "STATE", "DONE", "BY", "REASON"}, rows)
	if err == nil && page.Next != "" {
		_, err = fmt.Fprintf(sh.Out, "there are more: --cursor %s\n", page.Next)
	}
	return err
}

func jobsShow(sh *Shell) *cobra.Command {
	var (
		follow bool
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use: "show JOB", Short: "Show how far a job is",
		Long: `Show how far a job is. --follow shows it until its end; where no server runs it,
this command does.`,
		Example: "  extsync jobs show 019a2b3c-4d5e-7f60-8192-a3b4c5d6e7f8 --follow", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.connected(cmd, loader, 0, func(ctx context.Context, client *operate.Client) error {
				store, err := client.Jobs(ctx)
				if err != nil {
					return err
				}
				job, err := store.Get(ctx, args[0])
				if err != nil {
					return err
				}
				if follow && !job.State.Over() {
					return followJob(ctx, sh, client, job, "done")
				}
				return writeJob(sh, job)
			})
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "show it until its end")
	loader = brokerFlags(cmd)
	return cmd
}

func jobsStop(sh *Shell) *cobra.Command {
	var (
		reason string
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use: "stop JOB", Short: "Have a job end after what is in hand", Long: "Have a job end after what is in hand. What is done stays done.",
		Example: "  extsync jobs stop 019a2b3c-4d5e-7f60-8192-a3b4c5d6e7f8", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				job, err := client.StopJob(ctx, args[0], reason)
				if err != nil {
					return err
				}
				return writeJob(sh, job)
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	loader = brokerFlags(cmd)
	return cmd
}

// jobDocument is what POST /v1/jobs answers, too.
type jobDocument struct {
	Plan *operate.Plan `json:"plan,omitempty"`
	Job  *jobs.Job     `json:"job,omitempty"`
}

func writeJobPlan(sh *Shell, action jobs.Action, plan operate.Plan, what string) error {
	if sh.JSON {
		return sh.WriteJSON(jobDocument{Plan: &plan})
	}
	text := fmt.Sprintf("%s: %d %s (dry run)\n", action, plan.Total, what)
	for _, o := range plan.Outcomes {
		text += fmt.Sprintf("  %d %s\n", o.Count, o.Text)
	}
	if plan.Note != "" {
		text += plan.Note + "\n"
	}
	_, err := io.WriteString(sh.Out, text)
	return err
}

func writeJob(sh *Shell, job jobs.Job) error {
	if sh.JSON {
		return sh.WriteJSON(jobDocument{Job: &job})
	}
	var outcomes []string
	for _, word := range slices.Sorted(maps.Keys(job.Out)) {
		outcomes = append(outcomes, strconv.Itoa(job.Out[word])+" "+strings.ReplaceAll(word, "_", " "))
	}
	text := fmt.Sprintf("job %s: %s %s: %d of %d", job.ID, job.Action, job.State, job.Done, job.Total)
	if len(outcomes) > 0 {
		text += ": " + strings.Join(outcomes, ", ")
	}
	if job.Waits != "" {
		text += "; it waits: " + job.Waits
	}
	text += "\n"
	for _, f := range job.Failures {
		text += "  " + f + "\n"
	}
	_, err := io.WriteString(sh.Out, clean(text))
	return err
}
