package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hms-utl/extsync/pkg/connectors/kinds"
)

// documentCommand writes a reference: of a program's commands, of channels, or of a kind
// of connectors. It is hidden: it is for whoever builds the documents.
func documentCommand(sh *Shell) *cobra.Command {
	return &cobra.Command{
		Use: "document [channels|KIND]", Hidden: true, Args: cobra.MaximumNArgs(1),
		Short: "Write the reference of all commands, of channels or of a kind as Markdown",
		RunE: func(cmd *cobra.Command, args []string) error {
			text := ""
			switch {
			case len(args) == 0:
				text = document(cmd.Root())
			case args[0] == "channels":
				text = documentChannels()
			default:
				kind, err := kinds.All().Kind(args[0])
				if err != nil {
					return err
				}
				text = documentKind(kind)
			}
			_, err := io.WriteString(sh.Out, text)
			return err
		},
	}
}

// document returns the reference of a command and of those below it.
func document(cmd *cobra.Command) string {
	var b strings.Builder
	level := "##"
	if cmd.HasParent() {
		level = "###"
	}
	fmt.Fprintf(&b, "%s %s\n\n%s.\n\n", level, cmd.CommandPath(), cmd.Short)
	if cmd.Long != "" {
		fmt.Fprintf(&b, "```text\n%s\n```\n\n", strings.TrimSpace(cmd.Long))
	}
	if cmd.Runnable() && !cmd.HasSubCommands() {
		fmt.Fprintf(&b, "Usage: `%s`\n\n", cmd.UseLine())
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, "```text\n%s\n```\n\n", strings.TrimPrefix(strings.ReplaceAll(cmd.Example, "\n  ", "\n"), "  "))
	}
	b.WriteString(documentFlags(cmd))
	for _, sub := range cmd.Commands() {
		if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
			b.WriteString(document(sub))
		}
	}
	return b.String()
}

// documentFlags returns a table of a command's own flags. Settings, which have a
// variable too, are only counted: --help lists them.
func documentFlags(cmd *cobra.Command) string {
	var rows strings.Builder
	settings := 0
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		switch {
		case f.Hidden || f.Name == "help":
		case strings.Contains(f.Usage, "EXTSYNC_"):
			settings++
		default:
			name := "`--" + f.Name + "`"
			if f.Shorthand != "" {
				name = "`-" + f.Shorthand + "`, " + name
			}
			usage := strings.ReplaceAll(f.Usage, "|", `\|`)
			if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0s" {
				usage += " (default `" + f.DefValue + "`)"
			}
			fmt.Fprintf(&rows, "| %s | %s |\n", name, usage)
		}
	})
	out := ""
	if rows.Len() > 0 {
		out = "| flag | meaning |\n|---|---|\n" + rows.String() + "\n"
	}
	if settings > 0 {
		out += fmt.Sprintf("%d settings of the installation can be given, too: see `%s --help`.\n\n", settings, cmd.CommandPath())
	}
	return out
}
