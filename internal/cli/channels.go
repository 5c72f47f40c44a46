package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
)

// ChannelsCommand returns the commands about channels.
func ChannelsCommand(sh *Shell) *cobra.Command {
	return Group("channels", "Make, change and show channels", channelsApply(sh), channelsPlan(sh), channelsList(sh), channelsShow(sh),
		channelsPause(sh), channelsResume(sh), channelsEdit(sh), channelsDelete(sh), channelsRestore(sh), channelsClone(sh), channelsTest(sh),
		channelsReload(sh), channelsProbe(sh), channelsSchema(sh))
}

const applyHelp = `Make or change the topics and channels that a file, or the files of a directory, list,
and provision the broker. A channel reads a topic with 'from: {topic: NAME}'.

Topics and channels that the file does not name stay as they are; with --prune such
channels are deleted after the others were applied, and can be restored for 7 days. A
channel that was paused stays so unless the file says 'paused: false'; 'paused: true'
pauses it. Secrets are written as ${env:NAME} or ${file:/path}; the connector-workers resolve them.

A stream that is gone is made again, empty, and what it held is said. Storage is
reserved for all channels before one is changed: if the broker has not enough, the
exit code is 3 and nothing was changed. While the broker elects a leader the
command waits, for half a minute at most.`

const applyExample = `  extsync channels apply -f channels.yaml --dry-run
  extsync channels apply -f channels.d
  extsync channels apply -f channels.d --prune --yes

  # channels.yaml
  channels:
    - name: appointment_calendar
      connector:
        kind: http
        config: {url: "https://api.calendar.example/appointments"}`

func channelsApply(sh *Shell) *cobra.Command {
	var (
		what       applying
		prune, yes bool
	)
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make or change the channels of a file",
		Long:  applyHelp, Example: applyExample,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			listed, err := what.read(sh)
			if err != nil {
				return err
			}
			client, err := sh.Connect(cmd.Context(), loader)
			if err != nil {
				return err
			}
			defer client.Close()
			var unnamed []channels.Entry
			if prune {
				if unnamed, err = client.Unnamed(cmd.Context(), listed.Channels); err != nil {
					return err
				}
				if len(unnamed) > 0 && !what.dryRun && !yes {
					return unconfirmed("delete the channels that the file does not name: %s", namesOf(unnamed))
				}
			}
			applied, err := client.Apply(cmd.Context(), listed, what.dryRun)
			if err == nil && prune {
				err = client.Prune(cmd.Context(), unnamed, &applied)
			}
			return errors.Join(err, writeApplied(sh, applied))
		},
	}
	what.declare(cmd, "the topics and channels")
	cmd.Flags().BoolVar(&prune, "prune", false, "delete the channels that the file does not name")
	cmd.Flags().BoolVar(&yes, "yes", false, "with --prune: do it")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupStorage)
	return cmd
}

// applying is what a command applies that takes a file.
type applying struct {
	file   string
	dryRun bool
}

func (a *applying) declare(cmd *cobra.Command, what string) {
	cmd.Flags().StringVarP(&a.file, "file", "f", "", "YAML file with "+what+", a directory of such files, or - for standard input")
	cmd.Flags().BoolVar(&a.dryRun, "dry-run", false, "say what would be done, change nothing; whether the broker has room shows only when it is done")
}

func (a *applying) read(sh *Shell) (channels.File, error) {
	if a.file == "" {
		return channels.File{}, fmt.Errorf("%w: name the file with -f", errUsage)
	}
	return ReadFile(sh.In, a.file)
}

func namesOf(entries []channels.Entry) string {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Config.Name
	}
	return strings.Join(names, ", ")
}

func writeApplied(sh *Shell, applied operate.Applied) error {
	if sh.JSON {
		return sh.WriteJSON(applied)
	}
	would := ""
	if applied.DryRun {
		would = " (dry run)"
	}
	var b strings.Builder
	for _, s := range applied.Streams {
		writeLoss(&b, sh, s.Stream, s.Lost, would)
	}
	for _, t := range applied.Topics {
		fmt.Fprintf(&b, "topic %s: %s%s\n", t.Topic, t.Change, would)
	}
	for _, c := range applied.Channels {
		fmt.Fprintf(&b, "%s: %s%s%s\n", c.Channel, c.Change, pausedNote(c), would)
		if d := c.Drift; d != nil && d.Missing {
			b.WriteString("  ")
			writeLoss(&b, sh, d.Stream, d.Lost, would)
		} else if d != nil {
			fmt.Fprintf(&b, "  %s: %s\n", d.Stream, strings.Join(d.Fields, "; "))
		}
	}
	for _, name := range applied.Pruned {
		fmt.Fprintf(&b, "%s: deleted, since the file does not name it; it can be restored for 7 days%s\n", name, would)
	}
	_, err := io.WriteString(sh.Out, b.String())
	return err
}

// writeLoss says what became of a stream that was gone.
func writeLoss(b *strings.Builder, sh *Shell, stream, lost, would string) {
	fmt.Fprintf(b, "%s: %s%s: %s\n", stream, sh.Strong("was gone, is made again empty"), would, lost)
}

// pausedNote says what apply has done to a channel's pause.
func pausedNote(c operate.Change) string {
	switch {
	case c.Paused && c.PausedBefore:
		return ", stays paused ('extsync channels resume " + c.Channel + "' lets it go on)"
	case c.Paused:
		return ", paused as the file says"
	case c.PausedBefore:
		return ", resumed as the file says"
	default:
		return ""
	}
}

// capabilities are those of a channel's connector; none of a kind that this program does
// not know.
func capabilities(c channels.Config) connectors.Capabilities {
	kind, err := kinds.All().Kind(c.Connector.Kind)
	if err != nil {
		return connectors.Capabilities{}
	}
	return kind.With(c.Connector.Config)
}

func channelsList(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the channels",
		Long: `List the channels with kind, mode and state: active, paused, changing (its
partitions), or deleted and still to be restored.`,
		Example: "  extsync channels list\n  extsync channels list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				list, err := client.Channels(ctx, nil)
				if err != nil && len(list.Channels) == 0 {
					return err
				}
				return errors.Join(err, writeChannels(sh, list)) // those that can be read are better than none
			})
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}

func writeChannels(sh *Shell, list operate.ChannelList) error {
	if sh.JSON {
		return sh.WriteJSON(list)
	}
	rows := make([][]string, len(list.Channels))
	for i, c := range list.Channels {
		rows[i] = []string{c.Name, c.Kind, string(c.Mode), c.State, strconv.Itoa(c.Partitions), timeText(c.Updated), c.Description}
	}
	return writeTable(sh.Out, []string{"CHANNEL", "KIND", "MODE", "STATE", "PARTITIONS", "UPDATED", "DESCRIPTION"}, rows)
}

func channelsShow(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "show [NAME...]",
		Short: "Show the configuration of channels, with its defaults",
		Long: `Show the configuration of some channels, or of all that are not deleted, with its
defaults, as YAML that apply takes. It holds references to secrets, not the secrets.
Comments say what the connector of each can do ('extsync kinds' has the words), and
which are paused: that is for their operators, and the file would undo it.`,
		Example: `  extsync channels show erp_db > erp_db.yaml
  extsync channels show > channels.yaml`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeChannels(sh, loader, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				list, err := shown(ctx, client, args)
				switch {
				case err != nil:
					return err
				case sh.JSON && len(args) == 1:
					return sh.WriteJSON(list[0])
				case sh.JSON:
					return sh.WriteJSON(map[string][]operate.ChannelConfig{"channels": list})
				}
				return writeConfigs(sh, list)
			})
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}

// shown returns the channels with some names; without any, all that are not deleted.
func shown(ctx context.Context, client *operate.Client, names []string) ([]operate.ChannelConfig, error) {
	if len(names) == 0 {
		all, err := client.Channels(ctx, nil)
		if err != nil {
			return nil, err
		}
		for _, c := range all.Channels {
			if c.Deleted.IsZero() {
				names = append(names, c.Name)
			}
		}
	}
	list := make([]operate.ChannelConfig, len(names))
	for i, name := range names {
		var err error
		if list[i], err = client.Channel(ctx, name); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// writeConfigs writes the configurations of channels in the form that apply takes.
func writeConfigs(sh *Shell, list []operate.ChannelConfig) error {
	configs := make([]channels.Config, len(list))
	for i, c := range list {
		if _, err := fmt.Fprintf(sh.Out, "# %s: %s.\n", c.Name, c.Capabilities); err != nil {
			return err
		}
		if c.Entry.Paused() {
			if _, err := fmt.Fprintf(sh.Out, "# %s is paused.\n", c.Name); err != nil {
				return err
			}
		}
		configs[i] = c.Entry.Config
		configs[i].Paused = nil
	}
	enc := yaml.NewEncoder(sh.Out)
	enc.SetIndent(2)
	return errors.Join(enc.Encode(map[string]any{"channels": configs}), enc.Close())
}
