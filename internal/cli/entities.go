package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/why"
)

const entitiesHelp = `List keys by how they stand, of one channel or of all: those that stand as all of
--sync, --health and --why say. Without any of them it lists the keys that have a
reason, which are those that the target does not hold as it should.

--sync is what the target holds: in_sync, filtered, waiting, behind, ahead or unknown.
--health is whether the newest version moves: ok, retrying, parked, dead, down, paused
or blocked. --why is the code of a reason, as 'extsync get' shows it.

A page may be short, and even empty, and still have a next one: the command then names
the cursor. A key that changes meanwhile may come twice.`

// EntitiesCommand returns the command that lists keys by how they stand.
func EntitiesCommand(sh *Shell) *cobra.Command {
	var (
		q                     operate.ListQuery
		syncs, healths, codes []string
		loader                *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "entities [CHANNEL]",
		Short: "List keys by how they stand",
		Long:  entitiesHelp,
		Example: `  extsync entities
  extsync entities erp_db --health dead,parked
  extsync entities --why mapping_failed --limit 1000 --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := standingsOf(&q, syncs, healths, codes); err != nil {
				return err
			}
			if len(args) > 0 {
				q.Channel = args[0]
			}
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				page, err := client.List(ctx, q)
				if err != nil {
					return err
				}
				return writeEntities(sh, page)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&syncs, "sync", nil, "what the target holds; several with commas")
	flags.StringSliceVar(&healths, "health", nil, "whether the newest version moves; several with commas")
	flags.StringSliceVar(&codes, "why", nil, "codes of reasons, with commas")
	flags.StringVar(&q.Prefix, "key-prefix", "", "keys that begin so, also those without a reason")
	durationVar(flags, &q.OlderThan, "older-than", 0, "keys that have been as they are for longer")
	flags.IntVar(&q.Limit, "limit", 100, "how many at most")
	flags.StringVar(&q.Cursor, "cursor", "", "go on where the page before has ended")
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

// standingsOf reads what keys are selected by.
func standingsOf(q *operate.ListQuery, syncs, healths, codes []string) error {
	if q.Limit < 1 || q.Limit > operate.MaxListed {
		return fmt.Errorf("%w: --limit: %d is outside 1..%d", errUsage, q.Limit, operate.MaxListed)
	}
	for _, s := range syncs {
		if q.Sync = append(q.Sync, why.Sync(s)); !slices.Contains(why.Syncs(), why.Sync(s)) {
			return fmt.Errorf("%w: --sync: %q is none of %v", errUsage, clean(s), why.Syncs())
		}
	}
	for _, s := range healths {
		if q.Health = append(q.Health, why.Health(s)); !slices.Contains(why.Healths(), why.Health(s)) {
			return fmt.Errorf("%w: --health: %q is none of %v", errUsage, clean(s), why.Healths())
		}
	}
	for _, s := range codes {
		if q.Why = append(q.Why, why.Code(s)); why.Code(s).What() == "" {
			return fmt.Errorf("%w: --why: %q is no code of a reason; 'extsync get' shows them", errUsage, clean(s))
		}
	}
	return nil
}

func writeEntities(sh *Shell, page operate.ListPage) error {
	if sh.JSON {
		return sh.WriteJSON(page)
	}
	rows := make([][]string, len(page.Entities))
	for i, w := range page.Entities {
		rows[i] = []string{w.Channel, w.Key, versionText(w.Newest), versionText(w.Target), string(w.Sync), string(w.Health), whyText(w.Why)}
	}
	if err := writeTable(sh.Out, []string{"CHANNEL", "KEY", "NEWEST", "AT TARGET", "SYNC", "HEALTH", "WHY"}, rows); err != nil {
		return err
	}
	if page.Next == "" {
		return nil
	}
	_, err := fmt.Fprintf(sh.Out, "looked at %d of at most %d records; there may be more: --cursor %s\n", page.Looked, page.Of, page.Next)
	return err
}
