package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/channels"
)

func channelsPlan(sh *Shell) *cobra.Command {
	var (
		file   string
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Show what apply would change, field by field",
		Long: `Show what 'extsync channels apply' would change, field by field, and change
nothing. The exit code is 0 if there is nothing to change and 8 if there is.
Channels that the file does not name stay as they are. Whether the broker has room
shows only when they are applied.`,
		Example: `  extsync channels plan -f channels.yaml
  extsync channels plan -f channels.d || [ $? = 8 ] && extsync channels apply -f channels.d`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return fmt.Errorf("%w: name the file or directory with -f", errUsage)
			}
			configs, err := ReadChannels(sh.In, file)
			if err != nil {
				return err
			}
			if err := channels.ValidateAll(configs, app.Catalog()); err != nil {
				return err
			}
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *app.Client) error {
				missing, plan, err := client.Plan(ctx, configs)
				if err != nil {
					return err
				}
				return writePlan(sh, missing, plan)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "YAML file with the channels, a directory of such files, or - for standard input")
	loader = brokerFlags(cmd)
	return cmd
}

// writePlan writes a plan; errFound says that there are changes.
func writePlan(sh *Shell, missing []channels.Loss, plan []app.Plan) error {
	changes := len(missing)
	var b strings.Builder
	for _, m := range missing {
		fmt.Fprintf(&b, "%s: is gone, would be made again empty: %s\n", m.Stream, m.Lost)
	}
	for _, p := range plan {
		if p.Change != channels.Unchanged {
			changes++
		}
		stays := ""
		if p.Paused {
			stays = ", stays paused"
		}
		fmt.Fprintf(&b, "%s: %s%s\n", p.Channel, p.Change, stays)
		if d := p.Drift; d != nil && d.Missing {
			fmt.Fprintf(&b, "  %s: is gone, would be made again empty: %s\n", d.Stream, d.Lost)
		} else if d != nil {
			fmt.Fprintf(&b, "  %s: %s\n", d.Stream, strings.Join(d.Fields, "; "))
		}
		for _, f := range p.Fields {
			fmt.Fprintf(&b, "  %s: %s -> %s\n", clean(f.Field), planValue(f.Old), planValue(f.New))
		}
	}
	var err error
	if sh.JSON {
		err = sh.WriteJSON(struct {
			Changes  int             `json:"changes"`
			Streams  []channels.Loss `json:"streams"` // that are gone
			Channels []app.Plan      `json:"channels"`
		}{changes, missing, plan})
	} else {
		_, err = io.WriteString(sh.Out, b.String())
	}
	if err == nil && changes > 0 {
		return errFound
	}
	return err
}

func planValue(raw []byte) string {
	if len(raw) == 0 {
		return "(none)"
	}
	return clean(string(raw))
}
