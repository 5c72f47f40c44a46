package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/pkg/connectors"
)

const kindsHelp = `List the connector kinds: what each is for, how strong its guard is, and what it can
do at best. With a configuration it can be less: 'extsync channels show' says what a
channel's connector can.

  atomic       the write itself compares versions, at the target
  conditional  the connector reads, then writes under a condition of the target's own
  by format    each write says its version, and the receiver must ignore what is older
  ledger       only extsync's own order keeps an older version from coming last
  none         every version is kept beside the others`

// kindView is a kind as this command tells it.
type kindView struct {
	Name         string                  `json:"name"`
	Summary      string                  `json:"summary"`
	Capabilities connectors.Capabilities `json:"capabilities"`
}

// KindsCommand returns the command that lists the connector kinds.
func KindsCommand(sh *Shell) *cobra.Command {
	return &cobra.Command{
		Use:     "kinds",
		Short:   "List the connector kinds and what they can do",
		Long:    kindsHelp,
		Example: "  extsync kinds\n  extsync kinds --json | jq '.kinds[] | select(.capabilities.guard == \"atomic\") | .name'",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var views []kindView
			var b strings.Builder
			for _, k := range app.Catalog().Kinds() {
				views = append(views, kindView{k.Name, k.Summary, k.Capabilities})
				fmt.Fprintf(&b, "%-6s %s\n       %s\n", k.Name, k.Summary, k.Capabilities)
			}
			if sh.JSON {
				return sh.WriteJSON(map[string]any{"kinds": views})
			}
			_, err := io.WriteString(sh.Out, b.String())
			return err
		},
	}
}
