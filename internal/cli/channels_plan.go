package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
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
Topics and channels that the file does not name stay as they are. Whether the broker has room
shows only when they are applied.`,
		Example: `  extsync channels plan -f channels.yaml
  extsync channels plan -f channels.d || [ $? = 8 ] && extsync channels apply -f channels.d`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return fmt.Errorf("%w: name the file or directory with -f", errUsage)
			}
			listed, err := ReadFile(sh.In, file)
			if err != nil {
				return err
			}
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				plan, err := client.Apply(ctx, listed, true)
				if err != nil {
					return err
				}
				return writePlan(sh, plan)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "YAML file with the topics and channels, a directory of such files, or - for standard input")
	loader = brokerFlags(cmd)
	return cmd
}

// writePlan writes a plan; errFound says that there are changes.
func writePlan(sh *Shell, plan operate.Applied) error {
	var err error
	if sh.JSON {
		err = sh.WriteJSON(plan)
	} else {
		_, err = io.WriteString(sh.Out, planText(plan))
	}
	if err == nil && plan.Changes() {
		return errFound
	}
	return err
}

func planText(plan operate.Applied) string {
	var b strings.Builder
	for _, m := range plan.Streams {
		fmt.Fprintf(&b, "%s: is gone, would be made again empty: %s\n", m.Stream, m.Lost)
	}
	for _, t := range plan.Topics {
		fmt.Fprintf(&b, "topic %s: %s\n", t.Topic, t.Change)
	}
	for _, c := range plan.Channels {
		fmt.Fprintf(&b, "%s: %s%s\n", c.Channel, c.Change, pausedNote(c))
		if d := c.Drift; d != nil && d.Missing {
			fmt.Fprintf(&b, "  %s: is gone, would be made again empty: %s\n", d.Stream, d.Lost)
		} else if d != nil {
			fmt.Fprintf(&b, "  %s: %s\n", d.Stream, strings.Join(d.Fields, "; "))
		}
		for _, f := range c.Fields {
			fmt.Fprintf(&b, "  %s: %s -> %s\n", clean(f.Field), planValue(f.Old), planValue(f.New))
		}
	}
	return b.String()
}

func planValue(raw []byte) string {
	if len(raw) == 0 {
		return "(none)"
	}
	return clean(string(raw))
}
