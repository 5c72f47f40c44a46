// Connector-worker delivers updates to external systems.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/cli"
)

const help = `Connector-worker delivers the updates of all channels to their external systems.

` + cli.ExitCodes

func main() { os.Exit(cli.Main(root)) }

func root(sh *cli.Shell) *cobra.Command {
	cmd := cli.Group("connector-worker", "Deliver updates", cli.WorkerRunCommand(sh), cli.VersionCommand(sh))
	cmd.Long = help
	sh.AddJSON(cmd)
	return cmd
}
