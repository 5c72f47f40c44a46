package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/channels"
)

const targetAuditHelp = `Read back from a channel's target which versions it holds, and compare them with
what the ledger says was delivered:

  missing    the target does not have the key
  behind     it holds an older version
  ahead      it holds a newer version, which extsync did not deliver
  different  it holds the same version with other content
  extra      it has a key that was never delivered

The target is read from here: this process needs the channel's secrets
(${env:NAME}, ${file:/path}) and the way to the target. Kind sql can be read; kinds
that cannot are refused. The exit code is 0 if nothing differs and 8 if
something does.

--repair delivers the current version again to keys that are missing, behind or
different, in channels of mode latest. What is ahead or extra stays: extsync never
puts an older version over a newer one and removes only what the platform
deletes.`

// auditKept bounds the findings that are kept in memory: for --json and --repair.
const auditKept = 10_000

type auditFlags struct{ repair, yes bool }

// AuditCommand returns the command that compares a target with the ledger.
func AuditCommand(sh *Shell) *cobra.Command {
	var (
		f      auditFlags
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "audit CHANNEL",
		Short: "Compare what a target holds with what was delivered",
		Long:  targetAuditHelp,
		Example: `  extsync audit erp_db
  extsync audit erp_db --repair --yes
  extsync audit erp_db --json | jq .summary`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.withRegistry(cmd, loader, 0, func(ctx context.Context, client *app.Client, r *channels.Registry) error {
				return auditTarget(ctx, sh, client, r, args[0], f)
			})
		},
	}
	cmd.Flags().BoolVar(&f.repair, "repair", false, "deliver the current version again where the target lacks it")
	yesFlag(cmd, &f.yes)
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

// targetAudit is what audit tells. Findings are the first 10,000.
type targetAudit struct {
	Summary  app.AuditSummary `json:"summary"`
	Findings []app.Finding    `json:"findings"`
	Repaired uint64           `json:"repaired,omitempty"`
}

func auditTarget(ctx context.Context, sh *Shell, client *app.Client, r *channels.Registry, channel string, f auditFlags) error {
	doc := targetAudit{Findings: []app.Finding{}}
	var repair []string
	bar := sh.progress("keys", 0)
	var err error
	doc.Summary, err = client.Audit(ctx, channel, func(found app.Finding) error {
		if len(doc.Findings) < auditKept {
			doc.Findings = append(doc.Findings, found)
		}
		if f.repair && len(repair) < auditKept && repairable(found.Difference) {
			repair = append(repair, found.Key)
		}
		if sh.JSON {
			return nil
		}
		_, err := io.WriteString(sh.Out, clean(findingText(found))+"\n")
		return err
	}, func(s app.AuditSummary) { bar.set(s.Looked) })
	bar.end()
	if err != nil {
		return err
	}
	if len(repair) > 0 && f.yes {
		if doc.Repaired, err = repairKeys(ctx, r, channel, repair); err != nil {
			return err
		}
	}
	if err := writeTargetAudit(sh, doc); err != nil {
		return err
	}
	switch {
	case len(repair) > 0 && !f.yes:
		return unconfirmed("deliver %d keys again", len(repair))
	case doc.Summary.Differences() > int64(doc.Repaired): //nolint:gosec // bounded by auditKept
		return errFound
	}
	return nil
}

func repairable(d app.Difference) bool {
	return d == app.DiffMissing || d == app.DiffBehind || d == app.DiffDifferent
}

func findingText(f app.Finding) string {
	switch f.Difference {
	case app.DiffMissing:
		return fmt.Sprintf("missing    %s: version %s was delivered", f.Key, f.Ledger.Version)
	case app.DiffExtra:
		return "extra      " + f.Key
	default:
		return fmt.Sprintf("%-10s %s: version %s was delivered, the target holds %s", f.Difference, f.Key, f.Ledger.Version, f.Holds.Version)
	}
}

func writeTargetAudit(sh *Shell, doc targetAudit) error {
	if sh.JSON {
		return sh.WriteJSON(doc)
	}
	s := doc.Summary
	extra := fmt.Sprintf("%d extra", s.Extra)
	if !s.Listed {
		extra = "extra keys not looked for: the target cannot be listed"
	}
	text := fmt.Sprintf("%s: %d keys: %d missing, %d behind, %d ahead, %d different, %s\n",
		s.Channel, s.Looked, s.Missing, s.Behind, s.Ahead, s.Different, extra)
	if doc.Repaired > 0 {
		text += fmt.Sprintf("%d keys were delivered again\n", doc.Repaired)
	}
	_, err := io.WriteString(sh.Out, text)
	return err
}

// repairKeys has the workers deliver keys again, as many together as a resync
// takes, and returns how many were.
func repairKeys(ctx context.Context, r *channels.Registry, channel string, keys []string) (uint64, error) {
	var repaired uint64
	for len(keys) > 0 {
		n := min(len(keys), channels.MaxResyncKeys)
		if _, err := r.StartResync(ctx, channel, channels.Selection{Keys: keys[:n]}); err != nil {
			return repaired, err
		}
		keys = keys[n:]
		status, err := awaitResync(ctx, r, channel)
		if err != nil {
			return repaired, err
		}
		repaired += status.Delivered
		if status.State != channels.ResyncDone {
			return repaired, fmt.Errorf("%w: the repair was %s by somebody", errSomeFailed, status.State)
		}
	}
	return repaired, nil
}

func awaitResync(ctx context.Context, r *channels.Registry, channel string) (channels.ResyncStatus, error) {
	tick := time.NewTicker(resyncLook)
	defer tick.Stop()
	for {
		status, err := r.ResyncStatus(ctx, channel)
		if err != nil || status.State != channels.ResyncRunning {
			return status, err
		}
		select {
		case <-ctx.Done():
			return status, errors.Join(errUndelivered, ctx.Err())
		case <-tick.C:
		}
	}
}
