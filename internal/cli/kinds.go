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
`

// guardsHelp lists the guards behind a help text.
func guardsHelp(help string) string {
	for _, g := range []connectors.Guard{
		connectors.GuardAtomic, connectors.GuardConditional, connectors.GuardByFormat, connectors.GuardLedger, connectors.GuardNone,
	} {
		help += fmt.Sprintf("\n  %-12s %s", g, g.Meaning())
	}
	return help
}

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
		Long:    guardsHelp(kindsHelp),
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
