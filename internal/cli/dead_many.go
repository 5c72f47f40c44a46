package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/operate"
)

func discard() deadAction {
	return deadAction{
		act: operate.Discard, short: "Remove dead letters for good",
		long: `Remove dead letters: their updates are given up, with their content. The ledger
keeps what became of them.`,
		example: `  extsync dead discard 17
  extsync dead discard --channel erp_db --before 30d --yes
  extsync dead discard --all --state resolved --yes`,
		states: true,
	}
}

// errSomeFailed says that a part of the work could not be done.
var errSomeFailed = errors.New("not everything could be done")

// deadMany returns the command that does something to letters by their numbers or
// by a filter.
func deadMany(sh *Shell, action deadAction) *cobra.Command {
	var (
		f      letterFilter
		all    bool
		how    jobFlags
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   string(action.act) + " [LETTER...]",
		Short: action.short,
		Long: action.long + `

Name letters by their numbers, or select them by flags. With flags the command
first counts what they select, and does nothing more without --yes. It is a job
then: a server in the role admin runs it, or, where there is none, this command.
An interruption ends a job that this command runs, and leaves one that a server
runs to it.`,
		Example: action.example,
		RunE: func(cmd *cobra.Command, args []string) error {
			letters, err := letterNumbers(args)
			if err != nil {
				return err
			}
			filter, selects, err := f.filter(time.Now())
			switch {
			case err != nil:
				return err
			case len(letters) > 0 && (selects || all):
				return fmt.Errorf("%w: either name letters or select them by flags", errUsage)
			case len(letters) == 0 && !selects && !all:
				return fmt.Errorf("%w: name letters, select them by flags, or say --all", errUsage)
			}
			return sh.connected(cmd, loader, 0, func(ctx context.Context, client *operate.Client) error {
				if len(letters) > 0 {
					return eachLetter(ctx, sh, client, action.act, letters, how.reason)
				}
				return allLetters(ctx, sh, client, action.act, f.selection(filter), how)
			})
		},
	}
	f.declare(cmd, action.states)
	cmd.Flags().BoolVar(&all, "all", false, "all letters")
	how.declare(cmd)
	loader = brokerFlags(cmd)
	return cmd
}

func eachLetter(ctx context.Context, sh *Shell, client *operate.Client, act operate.LetterAct, letters []uint64, reason string) error {
	results := make([]operate.LetterResult, 0, len(letters))
	var errs []error
	for _, n := range letters {
		l, err := client.Letter(ctx, n)
		var r operate.LetterResult
		if err == nil {
			r, err = client.ActOnLetter(ctx, act, l.Entry, reason)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		results = append(results, r)
		if sh.JSON {
			continue
		}
		if _, err := fmt.Fprintf(sh.Out, "dead letter %d: %s\n", n, &r); err != nil {
			return err
		}
	}
	if sh.JSON && len(results) > 0 {
		errs = append(errs, sh.WriteJSON(map[string][]operate.LetterResult{"letters": results}))
	}
	return errors.Join(errs...)
}

func allLetters(ctx context.Context, sh *Shell, client *operate.Client, act operate.LetterAct, letters jobs.Letters, how jobFlags) error {
	return startJob(ctx, sh, client, operate.JobRequest{Action: jobs.Action(act), Letters: &letters, Reason: how.reason}, how, "dead letters")
}
