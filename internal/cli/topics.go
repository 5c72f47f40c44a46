package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
)

// TopicsCommand returns the commands about topics.
func TopicsCommand(sh *Shell) *cobra.Command {
	return Group("topics", "Make, change and show topics", topicsApply(sh), topicsList(sh), topicsShow(sh), topicsDelete(sh))
}

const topicsApplyHelp = `Make or change the topics that a file, or the files of a directory, list, and provision
the broker. A topic holds the newest version of each of its keys; any number of channels
read it ('from: {topic: NAME}' in a channel), and one update reaches all of them.

Channels that the file lists, too, stay as they are: 'extsync channels apply' does both.
Topics that the file does not name stay as they are.`

const topicsApplyExample = `  extsync topics apply -f topics.yaml --dry-run
  extsync topics apply -f topics.yaml

  # topics.yaml
  topics:
    - name: policies
      max_bytes: 256MiB
  channels:
    - name: portal
      from: {topic: policies, keys: "p-"}
      connector:
        kind: http
        config: {url: "https://portal.example/policies"}`

func topicsApply(sh *Shell) *cobra.Command {
	var what applying
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make or change the topics of a file",
		Long:  topicsApplyHelp, Example: topicsApplyExample,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			listed, err := what.read(sh)
			if err != nil {
				return err
			}
			if len(listed.Topics) == 0 {
				return fmt.Errorf("%w: %s lists no topics", errUsage, clean(what.file))
			}
			client, err := sh.Connect(cmd.Context(), loader)
			if err != nil {
				return err
			}
			defer client.Close()
			applied, err := client.Apply(cmd.Context(), channels.File{Topics: listed.Topics}, what.dryRun)
			return errors.Join(err, writeApplied(sh, applied))
		},
	}
	what.declare(cmd, "the topics")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupStorage)
	return cmd
}

func topicsList(sh *Shell) *cobra.Command {
	var loader *config.Loader
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the topics",
		Long:    "List the topics with what they hold and the channels that read them.",
		Example: "  extsync topics list\n  extsync topics list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				list, err := client.Topics(ctx, nil, nil)
				if err != nil && len(list.Topics) == 0 {
					return err
				}
				return errors.Join(err, writeTopics(sh, list)) // those that can be read are better than none
			})
		},
	}
	loader = brokerFlags(cmd)
	return cmd
}

func writeTopics(sh *Shell, list operate.TopicList) error {
	if sh.JSON {
		return sh.WriteJSON(list)
	}
	rows := make([][]string, len(list.Topics))
	for i, t := range list.Topics {
		rows[i] = []string{
			t.Name, strconv.FormatUint(t.Keys, 10), channels.Bytes(t.Bytes).Rounded(), t.MaxBytes.String(), //nolint:gosec // a size of storage fits
			strings.Join(t.Channels, ", "), timeText(t.Updated), t.Description,
		}
	}
	return writeTable(sh.Out, []string{"TOPIC", "KEYS", "BYTES", "MAX BYTES", "CHANNELS", "UPDATED", "DESCRIPTION"}, rows)
}

func topicsShow(sh *Shell) *cobra.Command {
	var loader *config.Loader
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a topic, and the channels that read it",
		Long:    "Show a topic with what it holds and the channels that read it.",
		Example: "  extsync topics show policies\n  extsync topics show policies --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				t, err := client.Topic(ctx, args[0], nil)
				if err != nil {
					return err
				}
				if sh.JSON {
					return sh.WriteJSON(t)
				}
				return writeTopics(sh, operate.TopicList{Topics: []operate.Topic{t.Topic}})
			})
		},
	}
	loader = brokerFlags(cmd)
	return cmd
}

func topicsDelete(sh *Shell) *cobra.Command {
	var (
		yes    bool
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a topic, for good",
		Long: `Delete a topic and the newest version of each key that it holds, for good. That is
refused while channels read it: remove them first. What targets hold stays there.`,
		Example: "  extsync topics delete policies\n  extsync topics delete policies --yes",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				t, err := client.Topic(ctx, args[0], nil)
				if err != nil {
					return err
				}
				if !yes && len(t.Channels) > 0 {
					return fmt.Errorf("%w: %s", channels.ErrTopicRead, strings.Join(t.Channels, ", "))
				}
				if !yes {
					return unconfirmed("delete topic %s for good, which holds %d keys", t.Name, t.Keys)
				}
				if err := client.DeleteTopic(ctx, t.Topic); err != nil {
					return err
				}
				if sh.JSON {
					return sh.WriteJSON(t.Topic)
				}
				_, err = fmt.Fprintf(sh.Out, "%s: deleted, with %d keys\n", t.Name, t.Keys)
				return err
			})
		},
	}
	yesFlag(cmd, &yes)
	loader = brokerFlags(cmd)
	return cmd
}
