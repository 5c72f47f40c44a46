package cli

import (
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
)

const schemaHelp = `Write the JSON Schema of a file of channels, with the configurations of all kinds of
connectors. An editor that knows it completes and explains fields, and marks what
'extsync channels apply' would refuse. Most take it from a comment in the file:

  # yaml-language-server: $schema=channels.schema.json

The schema is draft-07. Names that begin with x- are for forms: x-order, x-group,
x-advanced, x-secret (it may hold references to secrets), x-reference (it must hold
one), x-when (the field beside it, and its values, with which it means something),
x-min and x-max.`

func channelsSchema(sh *Shell) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Write the JSON Schema of a file of channels, for editors",
		Long:    schemaHelp,
		Example: "  extsync channels schema > channels.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return sh.WriteJSON(channels.FileSchema(kinds.All()))
		},
	}
}
