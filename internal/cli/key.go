package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/events"
)

// KeyCommand returns the commands about a single key.
func KeyCommand(sh *Shell) *cobra.Command {
	return Group("key", "Repair a single key", keyReset(sh), keyGiveUp(sh), keyRef(sh))
}

func keyReset(sh *Shell) *cobra.Command {
	var (
		yes    bool
		topic  string
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "reset CHANNEL KEY",
		Short: "Forget the versions of a key, so that they can start anew",
		Long: `Make a channel forget what it knows of a key: its versions, its ledger record and
its dead letters. This is for a platform that was restored from a backup and
counts versions anew. The target is not touched, and one that compares versions
itself still refuses what it holds to be older. A worker must be running.

With --topic, in place of CHANNEL, the topic forgets the key, and so do all channels that
read it.`,
		Example: "  extsync key reset erp_db p-2023-vax --yes\n  extsync key reset --topic policies p-2023-vax --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				if topic != "" {
					return sh.resetTopicKey(ctx, client, topic, args[0], yes)
				}
				was, err := confirmedKey(ctx, client, args, yes, fmt.Sprintf("make channel %s forget key %s", args[0], args[1]))
				if err != nil {
					return err
				}
				done, err := client.ResetKey(ctx, was)
				if err != nil {
					return err
				}
				if sh.JSON {
					return sh.WriteJSON(done)
				}
				_, err = fmt.Fprintf(sh.Out, "%s: key %s starts anew\n", args[0], clean(args[1]))
				return err
			})
		},
	}
	yesFlag(cmd, &yes)
	topicFlag(cmd, &topic, 2)
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

func (sh *Shell) resetTopicKey(ctx context.Context, client *operate.Client, topic, key string, yes bool) error {
	held, err := client.TopicKey(ctx, topic, key)
	if err != nil {
		return err
	}
	if !yes {
		return unconfirmed("make topic %s and all channels that read it forget key %s, whose newest version is %s", topic, clean(key), held.Newest.Version)
	}
	if err := client.ResetTopicKey(ctx, held, key); err != nil {
		return err
	}
	if sh.JSON {
		return sh.WriteJSON(struct {
			operate.Wanted
			Key string `json:"key"`
		}{held, key})
	}
	_, err = fmt.Fprintf(sh.Out, "topic %s: key %s starts anew\n", topic, clean(key))
	return err
}

func keyGiveUp(sh *Shell) *cobra.Command {
	var (
		yes    bool
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "give-up CHANNEL KEY",
		Short: "End the update of a key that fails",
		Long: `Make a dead letter of the update of a key that keeps failing. While nobody gets
through to a target, nothing is given up by itself: keys that always fail cannot
be told from a target that is down. 'extsync status' names them. The dead letter
says why the update failed, and can be replayed. A worker must be running.`,
		Example: "  extsync key give-up erp_db p-2023-vax --yes",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				was, err := confirmedKey(ctx, client, args, yes, fmt.Sprintf("make a dead letter of the pending update in channel %s of key %s", args[0], args[1]))
				if err != nil {
					return err
				}
				done, err := client.GiveUp(ctx, was)
				if err != nil {
					return err
				}
				return writeGivenUp(sh, done)
			})
		},
	}
	yesFlag(cmd, &yes)
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

func writeGivenUp(sh *Shell, g operate.GivenUp) error {
	if sh.JSON {
		return sh.WriteJSON(g)
	}
	text := fmt.Sprintf("%s: version %s of key %s is a dead letter: %s", g.Channel, g.Settled.Version, clean(g.Key), clean(g.Settled.Message))
	if g.Settled.Code != events.CodeGivenUp {
		text = fmt.Sprintf("%s: version %s of key %s ended by itself meanwhile: %s", g.Channel, g.Settled.Version, clean(g.Key), g.Settled.Outcome)
	}
	_, err := fmt.Fprintln(sh.Out, text)
	return err
}

// confirmedKey returns where the key of the arguments CHANNEL KEY is, or an error that says
// what would be done to it if that is not confirmed.
func confirmedKey(ctx context.Context, client *operate.Client, args []string, yes bool, what string) (operate.Whereabouts, error) {
	found, err := client.Find(ctx, args[1], args[0])
	if err != nil {
		return operate.Whereabouts{}, err
	}
	if !yes {
		return operate.Whereabouts{}, unconfirmed("%s, whose newest version is %s (%s)", what, found[0].Newest.Version, found[0].State)
	}
	return found[0], nil
}
