package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// ChannelsCommand returns the commands about channels.
func ChannelsCommand(sh *Shell) *cobra.Command {
	return Group("channels", "Make, change and show channels", channelsApply(sh), channelsPlan(sh), channelsList(sh), channelsShow(sh),
		channelsPause(sh), channelsResume(sh), channelsDelete(sh), channelsRestore(sh), channelsClone(sh), channelsTest(sh),
		channelsReload(sh), channelsProbe(sh))
}

const applyHelp = `Make or change the channels that a file, or the files of a directory, list, and
provision the broker.

Channels that the file does not name stay as they are. So does a channel that was
paused, unless the file says 'paused: false'; 'paused: true' pauses it. Secrets are
written as ${env:NAME} or ${file:/path}; the connector-workers resolve them.

A stream that is gone is made again, empty, and what it held is said. Storage is
reserved for all channels before one is changed: if the broker has not enough, the
exit code is 3 and nothing was changed. While the broker elects a leader the
command waits, for half a minute at most.`

const applyExample = `  extsync channels apply -f channels.yaml --dry-run
  extsync channels apply -f channels.d

  # channels.yaml
  channels:
    - name: appointment_calendar
      connector:
        kind: http
        config: {url: "https://api.calendar.example/appointments"}`

func channelsApply(sh *Shell) *cobra.Command {
	var (
		file   string
		dryRun bool
	)
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make or change the channels of a file",
		Long:  applyHelp, Example: applyExample,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return fmt.Errorf("%w: name the file with -f", errUsage)
			}
			configs, err := ReadChannels(sh.In, file)
			if err != nil {
				return err
			}
			// What is wrong with the file is said without a broker.
			if err := channels.ValidateAll(configs, app.Catalog()); err != nil {
				return err
			}
			client, err := sh.Connect(cmd.Context(), loader)
			if err != nil {
				return err
			}
			defer client.Close()
			applied, err := client.Apply(cmd.Context(), configs, dryRun)
			return errors.Join(err, writeApplied(sh, applied, dryRun))
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "YAML file with the channels, a directory of such files, or - for standard input")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done, change nothing; whether the broker has room shows only when it is done")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupStorage)
	return cmd
}

func writeApplied(sh *Shell, applied app.Applied, dryRun bool) error {
	if sh.JSON {
		return sh.WriteJSON(struct {
			DryRun bool `json:"dry_run"`
			app.Applied
		}{dryRun, applied})
	}
	would := ""
	if dryRun {
		would = " (dry run)"
	}
	var b strings.Builder
	for _, s := range applied.Streams {
		writeLoss(&b, sh, s.Stream, s.Lost, would)
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
	_, err := io.WriteString(sh.Out, b.String())
	return err
}

// writeLoss says what became of a stream that was gone.
func writeLoss(b *strings.Builder, sh *Shell, stream, lost, would string) {
	fmt.Fprintf(b, "%s: %s%s: %s\n", stream, sh.Strong("was gone, is made again empty"), would, lost)
}

// pausedNote says what apply has done to a channel's pause.
func pausedNote(c app.Change) string {
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

// channelView is a channel as list and show tell it.
type channelView struct {
	channels.Config
	Revision   uint64    `json:"revision"`
	Generation int       `json:"generation"`
	Updated    time.Time `json:"updated"`
	Deleted    time.Time `json:"deleted,omitzero"`
	// Capabilities are those of its connector, as it is configured.
	Capabilities connectors.Capabilities `json:"capabilities"`
}

func view(e channels.Entry) channelView {
	return channelView{
		Config: e.Config, Revision: e.Revision, Generation: e.Generation, Updated: e.Updated, Deleted: e.Deleted,
		Capabilities: capabilities(e.Config),
	}
}

// capabilities are those of a channel's connector; none of a kind that this program does
// not know.
func capabilities(c channels.Config) connectors.Capabilities {
	kind, err := app.Catalog().Kind(c.Connector.Kind)
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
			ctx, cancel := context.WithTimeout(cmd.Context(), readTimeout)
			defer cancel()
			client, err := sh.Connect(ctx, loader)
			if err != nil {
				return err
			}
			defer client.Close()
			registry, err := client.Registry(ctx)
			if err != nil {
				return err
			}
			entries, err := registry.List(ctx)
			return errors.Join(err, writeChannels(sh, entries))
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}

func writeChannels(sh *Shell, entries []channels.Entry) error {
	if sh.JSON {
		views := make([]channelView, len(entries))
		for i, e := range entries {
			views[i] = view(e)
		}
		return sh.WriteJSON(struct {
			Channels []channelView `json:"channels"`
		}{views})
	}
	rows := make([][]string, len(entries))
	for i, e := range entries {
		rows[i] = []string{
			e.Config.Name, e.Config.Connector.Kind, string(e.Config.Mode), standing.State(e),
			strconv.Itoa(e.Config.Partitions), timeText(e.Updated), e.Config.Description,
		}
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
			client, err := sh.Connect(cmd.Context(), loader)
			if err != nil {
				return err
			}
			defer client.Close()
			entries, err := namedChannels(cmd.Context(), client, args)
			if err != nil {
				return err
			}
			switch {
			case sh.JSON && len(args) == 1:
				return sh.WriteJSON(view(entries[0]))
			case sh.JSON:
				return writeChannels(sh, entries)
			}
			return writeConfigs(sh, entries)
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}

// writeConfigs writes the configurations of channels in the form that apply takes.
func writeConfigs(sh *Shell, entries []channels.Entry) error {
	configs := make([]channels.Config, len(entries))
	for i, e := range entries {
		if _, err := fmt.Fprintf(sh.Out, "# %s: %s.\n", e.Config.Name, capabilities(e.Config)); err != nil {
			return err
		}
		if e.Paused() {
			if _, err := fmt.Fprintf(sh.Out, "# %s is paused.\n", e.Config.Name); err != nil {
				return err
			}
		}
		configs[i] = e.Config
		configs[i].Paused = nil
	}
	enc := yaml.NewEncoder(sh.Out)
	enc.SetIndent(2)
	return errors.Join(enc.Encode(map[string]any{"channels": configs}), enc.Close())
}

// namedChannels returns the channels with some names; without any, all that are not
// deleted.
func namedChannels(ctx context.Context, client *app.Client, names []string) ([]channels.Entry, error) {
	registry, err := client.Registry(ctx)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		all, err := registry.List(ctx)
		return slices.DeleteFunc(all, func(e channels.Entry) bool { return !e.Deleted.IsZero() }), err
	}
	entries := make([]channels.Entry, len(names))
	for i, name := range names {
		if entries[i], err = registry.Get(ctx, name); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func getChannel(ctx context.Context, client *app.Client, name string) (channels.Entry, error) {
	entries, err := namedChannels(ctx, client, []string{name})
	if err != nil {
		return channels.Entry{}, err
	}
	return entries[0], nil
}
