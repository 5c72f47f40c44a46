// Publisher publishes updates for platform services.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/cli"
)

const help = `Publisher publishes updates of the platform's entities.

` + cli.ExitCodes

func main() { os.Exit(cli.Main(root)) }

func root(sh *cli.Shell) *cobra.Command {
	cmd := cli.Group("publisher", "Publish updates", cli.PublisherServeCommand(sh), cli.RelayCommand(sh), cli.PushCommand(sh, "publisher"), cli.VersionCommand(sh))
	cmd.Long = help
	sh.AddJSON(cmd)
	return cmd
}
