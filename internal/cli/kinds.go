package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/schema"
)

const kindsHelp = `List the connector kinds: what each is for, how strong its guard is, and what it can
do at best. With a configuration it can be less: 'extsync channels show' says what a
channel's connector can.

With NAME it lists the fields of the kind's configuration (connector.config of a
channel): what they take, what they mean, and what goes wrong with a bad value.
--schema writes them as a JSON Schema. 'extsync channels schema' has one of whole
files of channels, for editors.
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

// KindsCommand returns the command that lists the connector kinds.
func KindsCommand(sh *Shell) *cobra.Command {
	var asSchema bool
	cmd := &cobra.Command{
		Use:   "kinds [NAME]",
		Short: "List the connector kinds, or the fields of one",
		Long:  guardsHelp(kindsHelp),
		Example: "  extsync kinds\n  extsync kinds http\n  extsync kinds sql --schema\n" +
			"  extsync kinds --json | jq '.kinds[] | select(.capabilities.guard == \"atomic\") | .name'",
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return kinds.All().Names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return showKind(sh, args[0], asSchema)
			}
			if asSchema {
				return fmt.Errorf("%w: name the kind; 'extsync channels schema' writes the schema of a file of channels", errUsage)
			}
			return listKinds(sh)
		},
	}
	cmd.Flags().BoolVar(&asSchema, "schema", false, "write the JSON Schema of the kind's configuration")
	return cmd
}

func listKinds(sh *Shell) error {
	views := operate.Kinds(kinds.All())
	var b strings.Builder
	for _, k := range views.Kinds {
		fmt.Fprintf(&b, "%-6s %s\n       %s\n", k.Name, k.Summary, k.Capabilities)
	}
	if sh.JSON {
		return sh.WriteJSON(views)
	}
	_, err := io.WriteString(sh.Out, b.String())
	return err
}

func showKind(sh *Shell, name string, asSchema bool) error {
	k, err := kinds.All().Kind(name)
	if err != nil {
		return err
	}
	described := operate.KindOf(k)
	switch {
	case asSchema:
		return sh.WriteJSON(described.Schema)
	case sh.JSON:
		return sh.WriteJSON(described)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n%s\n", k.Name, k.Summary, k.Capabilities)
	if described.Schema != nil {
		writeFields(&b, k.Fields())
	}
	_, err = io.WriteString(sh.Out, b.String())
	return err
}

// writeFields writes the fields of a configuration, group by group.
func writeFields(b *strings.Builder, t *schema.Type) {
	for _, group := range t.Groups() {
		fmt.Fprintf(b, "\n%s\n", group.Name)
		for _, line := range group.Lines {
			fmt.Fprintf(b, "  %-28s %s", line.Path, line.Takes())
			if line.Default != "" {
				fmt.Fprintf(b, " (default %s)", line.Default)
			}
			if facts := line.Facts(); facts != "" {
				fmt.Fprintf(b, "; %s", facts)
			}
			b.WriteString("\n")
			for _, text := range wrap(line.Doc, 84) {
				fmt.Fprintf(b, "      %s\n", text)
			}
			if line.Example != "" {
				fmt.Fprintf(b, "      example: %s\n", line.Example)
			}
		}
	}
}

// wrap breaks a text into lines of up to so many characters, between words.
func wrap(text string, width int) []string {
	var out []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			out, line = append(out, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(out, line)
}
