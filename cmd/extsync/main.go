// Extsync is the command for people: try it out, publish, ask where an update
// is, and manage channels.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/cli"
)

const help = `Extsync keeps the copies that other systems hold at the platform's newest version.

Settings come from flags, EXTSYNC_* variables and a YAML file (--config), in this
order of precedence. Each flag names its variable; in the file the same setting
is nested: --nats-tls-ca-file, EXTSYNC_NATS_TLS_CA_FILE and nats.tls.ca_file are
one. Unknown fields and variables are refused. 'extsync context' keeps broker,
credentials and prefix under a name, for people who work with several installations;
what is set otherwise wins over it.

` + cli.ExitCodes

func main() { os.Exit(cli.Main(root)) }

func root(sh *cli.Shell) *cobra.Command {
	cmd := cli.Group("extsync", "Keep other systems at the platform's newest version",
		demoCommand(sh), devCommand(sh), consoleCommand(sh), cli.BrokerConfigCommand(sh), cli.HealthCommand(sh), cli.PushCommand(sh, "extsync"), cli.GetCommand(sh), cli.EntitiesCommand(sh), cli.WaitCommand(sh), cli.TailCommand(sh), cli.StatusCommand(sh),
		cli.ImportCommand(sh), cli.ResyncCommand(sh), cli.AuditCommand(sh), cli.DeadCommand(sh), cli.JobsCommand(sh), cli.KeyCommand(sh), cli.DoctorCommand(sh), cli.KindsCommand(sh), cli.ConnectorCommand(sh), cli.WorkersCommand(sh), cli.RecoverCommand(sh),
		cli.ChannelsCommand(sh), cli.TopicsCommand(sh), cli.OutboxCommand(sh), cli.TokensCommand(sh), cli.ServicesCommand(sh), cli.AuditLogCommand(sh), cli.ContextCommand(sh), cli.VersionCommand(sh))
	cmd.Long = help
	cmd.Example = "  extsync demo\n  extsync dev\n  extsync get p-2023-vax"
	sh.AddJSON(cmd)
	sh.AddContexts(cmd)
	return cmd
}
