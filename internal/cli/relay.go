package cli

import (
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
)

const relayHelp = `Publish the rows of a platform's outbox until SIGINT or SIGTERM, then finish what is
under way.

The platform adds a row to the table extsync_outbox in its own transaction; so an update
is published exactly when that commits. 'extsync outbox ddl' prints the table. Rows of one
key are published in their order, and removed when the broker has them. A row that can
never be published is set aside with a note, and holds up nothing ('extsync outbox status').

Start two or more for a database that is to be relayed while one of them is down; of
SQLite start one. A DSN with a password belongs in a file (--relay-dsn-file) or in
EXTSYNC_RELAY_DSN. The database's user needs SELECT, UPDATE and DELETE on the table.

--telemetry-listen lets it be looked at: /metrics, /healthz, and /readyz, which says
why when rows wait and none is published.`

// RelayCommand returns the command that relays an outbox.
func RelayCommand(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Publish what a platform's transactions have put into an outbox",
		Long:  relayHelp,
		Example: `  publisher relay --relay-dialect postgres --relay-dsn postgres://relay@db.example/platform --telemetry-listen 127.0.0.1:9465
  publisher relay --relay-dialect mysql --relay-dsn-file /run/secrets/relay-dsn
  publisher relay --relay-dialect sqlite --relay-dsn platform.db`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loader.Load(sh.Environ)
			if err != nil {
				return err
			}
			return app.RunRelay(cmd.Context(), app.RelayOptions{Config: cfg, Logger: sh.Logger(cfg.Log, zerolog.InfoLevel)})
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupRelay, config.GroupTelemetry)
	return cmd
}
