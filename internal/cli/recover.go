package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
)

const recoverHelp = `Tell extsync that the broker's files were restored: from a backup, from a copy of
a directory, from a snapshot of a disk. Run it after each restore, when the broker
runs again and before anything else does.

A restored broker counts on from an older state: it gives numbers to new messages
that others have had. Everything that remembers such numbers is then wrong: where
workers stopped, what publishers have seen last. recover makes a new incarnation
of the installation, in which no such number counts. Every partition begins
anew: what is settled already is recognised by its version and not delivered
again. Nothing is deleted. Workers and publishers that run stop with exit code 3
within seconds; start them again.

What the restored files do not have, extsync cannot know: let the platform publish
it again. It can be run more than once.`

// recoverNext is what an operator does afterwards.
var recoverNext = []string{ //nolint:gochecknoglobals // a constant that the language cannot express as one
	"let the platform publish the current version of everything that has changed since the backup; rather more than less",
	"start the publishers and the workers again",
	"extsync doctor",
	"extsync audit CHANNEL, with --repair where it finds differences; where the target cannot be read: extsync resync CHANNEL",
}

// RecoverCommand returns the command that follows a restore of the broker.
func RecoverCommand(sh *Shell) *cobra.Command {
	var (
		yes    bool
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Begin anew after the broker's files were restored",
		Long:  recoverHelp,
		Example: `  extsync recover --yes
  extsync recover --yes --json | jq -r .after`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				if !yes {
					plan, err := client.PlanRecovery(ctx)
					if err != nil {
						return err
					}
					return unconfirmed("end incarnation %s: all workers and publishers stop, and %d partitions of %d channels begin anew",
						plan.Before, plan.Partitions, len(plan.Channels))
				}
				done, err := client.Recover(ctx)
				if err != nil {
					return err
				}
				return writeRecovery(sh, done)
			})
		},
	}
	yesFlag(cmd, &yes)
	loader = brokerFlags(cmd)
	return cmd
}

func writeRecovery(sh *Shell, r operate.Recovery) error {
	if sh.JSON {
		return sh.WriteJSON(struct {
			operate.Recovery
			Next []string `json:"next"`
		}{r, recoverNext})
	}
	text := fmt.Sprintf("the installation has incarnation %s; it was %s\n", r.After, r.Before) +
		fmt.Sprintf("%d partitions of %d channels begin anew; nothing was deleted\n", r.Partitions, len(r.Channels)) +
		"workers and publishers that ran before stop within seconds\nnext:\n"
	for i, step := range recoverNext {
		text += fmt.Sprintf("  %d. %s\n", i+1, step)
	}
	_, err := io.WriteString(sh.Out, text)
	return err
}
