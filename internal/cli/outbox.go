package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// OutboxCommand returns the commands about outboxes.
func OutboxCommand(sh *Shell) *cobra.Command {
	return Group("outbox", "Make and look at the outbox in a platform's database", outboxDDL(sh), outboxStatus(sh))
}

func outboxDDL(sh *Shell) *cobra.Command {
	var dialect string
	cmd := &cobra.Command{
		Use:   "ddl --dialect DIALECT",
		Short: "Print the statements that make an outbox",
		Long: `Print the statements that make an outbox, as a migration for the platform's database.
To run them again changes nothing. A platform that adds rows needs INSERT on extsync_outbox,
and INSERT, SELECT and UPDATE on extsync_outbox_keys; the relay needs SELECT, UPDATE and
DELETE on extsync_outbox.`,
		Example: "  extsync outbox ddl --dialect postgres > migrations/0042_outbox.sql\n  extsync outbox ddl --dialect sqlite | sqlite3 platform.db",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := outbox.DDL(outbox.Dialect(dialect))
			if err != nil {
				return fmt.Errorf("%w: --dialect: %w", errUsage, err)
			}
			if sh.JSON {
				return sh.WriteJSON(map[string]string{"dialect": dialect, "ddl": text})
			}
			_, err = io.WriteString(sh.Out, text)
			return err
		},
	}
	cmd.Flags().StringVar(&dialect, "dialect", "", "postgres, mysql (MariaDB, too) or sqlite")
	return cmd
}

func outboxStatus(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what waits in an outbox, and what was set aside",
		Long: `Show what waits in an outbox, why, and what was set aside.

A row is set aside that can never be published: it is no valid update, or it conflicts with
what the broker has. Put the cause right and have the row tried again, or delete it:

  UPDATE extsync_outbox SET noted_at = NULL WHERE id = 4711;
  DELETE FROM extsync_outbox WHERE id = 4711;`,
		Example: "  extsync outbox status --relay-dialect postgres --relay-dsn postgres://relay@db.example/platform\n" +
			"  extsync outbox status --relay-dialect sqlite --relay-dsn platform.db --json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), readTimeout)
			defer cancel()
			cfg, err := sh.Settings(loader)
			if err != nil {
				return err
			}
			report, err := outboxReport(ctx, cfg)
			if err != nil {
				return err
			}
			client, connected := operate.Connect(ctx, cfg, sh.Logger(cfg.Log, zerolog.ErrorLevel))
			if connected == nil {
				defer client.Close()
			}
			client.ExplainOutbox(ctx, &report, connected)
			if sh.JSON {
				return sh.WriteJSON(report)
			}
			return writeOutbox(sh.Out, report)
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupRelay)
	return cmd
}

func outboxReport(ctx context.Context, cfg config.Config) (report relay.Report, err error) {
	dialect, dsn, err := cfg.Relay.Database()
	if err != nil {
		return report, err
	}
	db, err := relay.Open(dialect, dsn, 1)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Check(ctx); err != nil {
		return report, err
	}
	return db.Report(ctx)
}

func writeOutbox(w io.Writer, report relay.Report) error {
	if len(report.Targets) == 0 {
		_, err := io.WriteString(w, "The outbox is empty.\n")
		return err
	}
	rows := make([][]string, len(report.Targets))
	for i, t := range report.Targets {
		rows[i] = []string{cell(t.Target), strconv.FormatInt(t.Waiting, 10), "", strconv.FormatInt(t.Aside, 10), t.Why}
		if t.Waiting > 0 {
			rows[i][2] = time.Duration(t.OldestSeconds * float64(time.Second)).Round(time.Second).String()
		}
	}
	if err := writeTable(w, []string{"TARGET", "WAITING", "OLDEST", "SET ASIDE", "WHY"}, rows); err != nil || len(report.Aside) == 0 {
		return err
	}
	rows = make([][]string, len(report.Aside))
	for i, a := range report.Aside {
		rows[i] = []string{strconv.FormatInt(a.ID, 10), cell(a.Target), cell(a.Key), cell(a.Version), connectors.Clip(strings.ReplaceAll(a.Note, "\n", " "), 300)}
	}
	if _, err := io.WriteString(w, "\nSet aside:\n"); err != nil {
		return err
	}
	return writeTable(w, []string{"ID", "TARGET", "KEY", "VERSION", "NOTE"}, rows)
}

// cell cuts a text to what a column can show: anything may stand in the platform's table.
func cell(text string) string {
	const most = 70
	if len(text) <= most {
		return text
	}
	return connectors.Clip(text, most) + "..."
}
