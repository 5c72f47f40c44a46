package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/deadletters"
)

func discard() deadAction {
	return deadAction{
		verb: "discard", short: "Remove dead letters for good",
		long: `Remove dead letters: their updates are given up, with their content. The ledger
keeps what became of them.`,
		example: `  extsync dead discard 17
  extsync dead discard --channel erp_db --before 720h --yes
  extsync dead discard --all --state resolved --yes`,
		states: true,
		one: func(ctx context.Context, s *deadletters.Replayer, n uint64) (string, error) {
			return "discarded", s.Discard(ctx, n)
		},
		many: func(ctx context.Context, s *deadletters.Replayer, f deadletters.Filter, progress func(deadletters.Summary)) (deadletters.Summary, error) {
			return s.DiscardAll(ctx, f, progress)
		},
	}
}

// errSomeFailed says that a part of the work could not be done.
var errSomeFailed = errors.New("not everything could be done")

// letterResult is what came of one letter that was named.
type letterResult struct {
	Letter uint64 `json:"letter"`
	Result string `json:"result"`
}

// deadMany returns the command that does something to letters by their numbers or
// by a filter.
func deadMany(sh *Shell, action deadAction) *cobra.Command {
	var (
		f        letterFilter
		all, yes bool
		loader   *config.Loader
	)
	cmd := &cobra.Command{
		Use:   action.verb + " [LETTER...]",
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
			return sh.connected(cmd, loader, 0, func(ctx context.Context, client *app.Client) error {
				store, err := client.DeadLetters(ctx)
				if err != nil {
					return err
				}
				if len(letters) > 0 {
					return eachLetter(ctx, sh, client, action, store, letters)
				}
				return allLetters(ctx, sh, client, action, store, filter, yes)
			})
		},
	}
	f.declare(cmd, action.states)
	cmd.Flags().BoolVar(&all, "all", false, "all letters")
	yesFlag(cmd, &yes)
	loader = brokerFlags(cmd)
	return cmd
}

func eachLetter(ctx context.Context, sh *Shell, client *app.Client, action deadAction, store *deadletters.Replayer, letters []uint64) error {
	results := make([]letterResult, 0, len(letters))
	var errs []error
	for _, n := range letters {
		text, err := oneLetter(ctx, client, action, store, n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		results = append(results, letterResult{n, text})
		if sh.JSON {
			continue
		}
		if _, err := fmt.Fprintf(sh.Out, "dead letter %d: %s\n", n, text); err != nil {
			return err
		}
	}
	if sh.JSON && len(results) > 0 {
		errs = append(errs, sh.WriteJSON(struct {
			Letters []letterResult `json:"letters"`
		}{results}))
	}
	return errors.Join(errs...)
}

// oneLetter does it to one letter, with a record in the audit log.
func oneLetter(ctx context.Context, client *app.Client, action deadAction, store *deadletters.Replayer, n uint64) (text string, err error) {
	e, err := store.Get(ctx, n)
	if err != nil {
		return "", err
	}
	act := auditlog.Act{Action: "dead_letter." + action.verb, Target: "channel " + e.Channel, Before: e}
	err = client.Act(ctx, act, func(ctx context.Context) (any, error) {
		text, err = action.one(ctx, store, n)
		return map[string]string{"result": text}, err
	})
	return text, err
}

func allLetters(ctx context.Context, sh *Shell, client *app.Client, action deadAction, store *deadletters.Replayer, filter deadletters.Filter, yes bool) error {
	count, err := store.Count(ctx, filter)
	if err != nil {
		return err
	}
	if !yes && count > 0 {
		return unconfirmed("%s %d dead letters", action.verb, count)
	}
	progress := sh.progress("dead letters", int64(count))
	act := auditlog.Act{Action: "dead_letters." + action.verb, Before: filter}
	if filter.Channel != "" {
		act.Target = "channel " + filter.Channel
	}
	var sum deadletters.Summary
	err = client.Act(ctx, act, func(ctx context.Context) (any, error) {
		sum, err = action.many(ctx, store, filter, func(s deadletters.Summary) { progress.set(int64(s.Done)) })
		return sum, err
	})
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
