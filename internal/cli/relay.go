package cli

import (
	"fmt"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
)

const relayHelp = `Publish what a platform's transactions commit until SIGINT or SIGTERM, then finish
what is under way.

From an outbox. The platform adds a row to the table extsync_outbox in its own
transaction; so an update is published exactly when that commits. 'extsync outbox ddl'
prints the table. Rows of one key are published in their order, and removed when the
broker has them. A row that can never be published is set aside with a note, and holds up
nothing ('extsync outbox status'). Start two or more for a database that is to be relayed
while one of them is down; of SQLite start one. The database's user needs SELECT, UPDATE
and DELETE on the table.

From the platform's own tables, where the platform cannot be changed (--relay-query). The
query gives the columns key, version and payload, and may give op, target, content_type
and base; AS names a column. In it :since stands for a version:

  SELECT id AS "key", change_no AS version, body AS payload
  FROM policies WHERE change_no > :since

The versions grow over the whole table: a number from one sequence, or the time of the
change (--relay-versions time). A counter of each row is no such version: a row that goes
from 3 to 4 is not found behind another one's 500. The first run after a start reads all
rows, the next ones what is new, and before that an overlap for transactions that commit
late (--relay-overlap). What was published within it is remembered, and costs the broker
nothing. Only the newest version of a row is seen, and a row that was deleted is not: keep
it, and have the query give op 'delete'. A row that is no update is logged once and left
out. The database's user needs SELECT only.

--compare reads all rows of the query once and tells where platform and broker disagree:

  missing   the broker lacks the key
  behind    the broker has an older version
  ahead     the broker has a newer version: the platform has come back older than it was
  differs   the same version with other content
  gone      the platform does not have the key any more, and the broker does
  bad       the row is no update

--repair publishes what is missing or behind. All else is for people: extsync never puts
an older version over a newer one, and has no version for what is gone. The exit code is 0
if nothing differs or all was repaired, and 8 if something does. With --json each finding
is a line of JSON, and so is the summary, the last one. Run it after a restore of the
database or of the broker. --relay-compare-every has the running relay do it by the clock,
for the log and metrics; it repairs nothing.

A DSN with a password belongs in a file (--relay-dsn-file) or in EXTSYNC_RELAY_DSN.
--telemetry-listen lets it be looked at: /metrics, /healthz, and /readyz, which says
why when rows wait and none is published.`

// RelayCommand returns the command that relays an outbox, or the platform's own tables.
func RelayCommand(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	var compare, repair bool
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Publish what a platform's transactions commit: an outbox, or its own tables",
		Long:  relayHelp,
		Example: `  publisher relay --relay-dialect postgres --relay-dsn postgres://relay@db.example/platform --telemetry-listen 127.0.0.1:9465
  publisher relay --relay-dialect mysql --relay-dsn-file /run/secrets/relay-dsn
  publisher relay --relay-dialect sqlite --relay-dsn platform.db
  publisher relay --relay-dialect postgres --relay-dsn-file dsn --relay-target topics/policies --relay-versions time \
    --relay-query 'SELECT id AS "key", updated_at AS version, to_jsonb(p) AS payload FROM policies p WHERE updated_at > :since'
  publisher relay --config relay.yaml --compare
  publisher relay --config relay.yaml --compare --repair`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if repair && !compare {
				return fmt.Errorf("%w: --repair is a part of --compare: give both", errUsage)
			}
			cfg, err := loader.Load(sh.Environ)
			if err != nil {
				return err
			}
			if compare {
				return compareRelay(cmd.Context(), sh, cfg, repair)
			}
			return app.RunRelay(cmd.Context(), app.RelayOptions{Config: cfg, Logger: sh.Logger(cfg.Log, zerolog.InfoLevel)})
		},
	}
	cmd.Flags().BoolVar(&compare, "compare", false, "compare the query's rows with the broker once, and end")
	cmd.Flags().BoolVar(&repair, "repair", false, "with --compare: publish what is missing or behind")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupRelay, config.GroupTelemetry)
	return cmd
}
