package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/config"
)

const auditHelp = `Show administrative acts, oldest first, those of the HTTP API and those of
commands: channels, dead letters, resyncs, repairs, keys that were reset, tokens.
Of a command it names the user of the operating system and the machine, and the
user of the broker. An act that is only "started" was cut off, and may have been
done or not. --json shows what was there before and after.`

// AuditLogCommand returns the command that shows who has changed what.
func AuditLogCommand(sh *Shell) *cobra.Command {
	var since time.Duration
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "audit-log",
		Short: "Show who has changed what",
		Long:  auditHelp,
		Example: `  extsync audit-log --since 24h
  extsync audit-log --json | jq '.acts[] | select(.action == "channel.delete")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), readTimeout)
			defer cancel()
			client, err := sh.Connect(ctx, loader)
			if err != nil {
				return err
			}
			defer client.Close()
			records, err := auditlog.Open(client.JS, client.Names).Read(ctx, time.Now().Add(-since))
			if err != nil {
				return err
			}
			return writeAudit(sh, records)
		},
	}
	durationVar(cmd.Flags(), &since, "since", 7*24*time.Hour, "how far to look back")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}

func writeAudit(sh *Shell, records []auditlog.Record) error {
	if sh.JSON {
		return sh.WriteJSON(struct {
			Acts []auditlog.Record `json:"acts"`
		}{append([]auditlog.Record{}, records...)})
	}
	rows := make([][]string, len(records))
	for i, r := range records {
		rows[i] = []string{timeText(r.At), r.Actor, r.Action, r.Target, r.Result, r.Reason, r.Error}
	}
	return writeTable(sh.Out, []string{"WHEN", "WHO", "WHAT", "ON", "RESULT", "REASON", "ERROR"}, rows)
}
