package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/deadletters"
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
		f        letterFilter
		all, yes bool
		loader   *config.Loader
	)
	cmd := &cobra.Command{
		Use:   string(action.act) + " [LETTER...]",
		Short: action.short,
		Long: action.long + `

Name letters by their numbers, or select them by flags. With flags the command
first counts what they select, and does nothing more without --yes.`,
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
					return eachLetter(ctx, sh, client, action.act, letters)
				}
				return allLetters(ctx, sh, client, action.act, filter, yes)
			})
		},
	}
	f.declare(cmd, action.states)
	cmd.Flags().BoolVar(&all, "all", false, "all letters")
	yesFlag(cmd, &yes)
	loader = brokerFlags(cmd)
	return cmd
}

func eachLetter(ctx context.Context, sh *Shell, client *operate.Client, act operate.LetterAct, letters []uint64) error {
	results := make([]operate.LetterResult, 0, len(letters))
	var errs []error
	for _, n := range letters {
		r, err := client.ActOnLetter(ctx, act, n)
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

func allLetters(ctx context.Context, sh *Shell, client *operate.Client, act operate.LetterAct, filter deadletters.Filter, yes bool) error {
	count, err := client.CountLetters(ctx, filter)
	if err != nil {
		return err
	}
	if count == 0 && filter.Channel != "" { // a name that is misspelt has no letters either
		if err := checkChannels(ctx, client, filter.Channel); err != nil {
			return err
		}
	}
	if !yes && count > 0 {
		return unconfirmed("%s %d dead letters", act, count)
	}
	sh.goOn = "what is done is done; run the same command again for the rest"
	progress := sh.progress("dead letters", int64(count))
	sum, err := client.ActOnLetters(ctx, act, filter, func(s deadletters.Summary) { progress.set(int64(s.Done)) })
	progress.end()
	if sh.JSON {
		err = errors.Join(err, sh.WriteJSON(sum))
	} else {
		_, werr := fmt.Fprintf(sh.Out, "%d dead letters: %d delivered, %d superseded, %d on their way, %d malformed, %d discarded, %d gone meanwhile, %d failed\n",
			sum.Done, sum.Delivered, sum.Superseded, sum.UnderWay, sum.Malformed, sum.Discarded, sum.Gone, sum.Failed)
		err = errors.Join(err, werr)
	}
	if err == nil && sum.Failed > 0 {
		return fmt.Errorf("%w: %d dead letters: %w", errSomeFailed, sum.Failed, errors.Join(sum.Errors...))
	}
	return err
}
