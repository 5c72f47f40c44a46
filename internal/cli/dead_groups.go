package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/deadletters"
)

func deadGroups(sh *Shell) *cobra.Command {
	var (
		f      letterFilter
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "Show why updates were given up, and how often",
		Long: `Put dead letters together by why they failed: those of a channel with the same
outcome, class and code whose messages differ only in numbers, quoted parts and
words with digits. The first column names the group for --group of the other
commands.`,
		Example: `  extsync dead groups --channel erp_db
  extsync dead replay --group 5e1c90ab7d20f3c4 --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, _, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				groups, err := client.LetterGroups(ctx, filter)
				if err != nil {
					return err
				}
				return writeGroups(sh, groups)
			})
		},
	}
	f.declare(cmd, true)
	loader = brokerFlags(cmd)
	return cmd
}

func writeGroups(sh *Shell, g deadletters.Groups) error {
	if sh.JSON {
		return sh.WriteJSON(g)
	}
	rows := make([][]string, len(g.Groups))
	for i, e := range g.Groups {
		rows[i] = []string{
			e.ID, strconv.Itoa(e.Count), e.Channel, string(e.Outcome), timeText(e.First), timeText(e.Last),
			strings.TrimPrefix(reason(e.Class, e.Code, e.Message), ": "),
		}
	}
	err := writeTable(sh.Out, []string{"GROUP", "LETTERS", "CHANNEL", "OUTCOME", "FIRST", "LAST", "REASON"}, rows)
	if err == nil && g.More {
		_, err = fmt.Fprintf(sh.Out, "there are more: %d of %d letters were looked at, and at most %d groups are shown\n", g.Looked, g.Of, deadletters.MaxGroups)
	}
	return err
}
