package cli

import (
	"context"
	"errors"
	"fmt"

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
  different  it holds the same version with another digest: content that was changed
             behind an unchanged digest is not seen
  extra      it has a key that was never delivered

The target is read from here: this process needs the channel's secrets
(${env:NAME}, ${file:/path}) and the way to the target, both within its own settings
"allow". Kind sql can be read, and kind
http if read.url is configured; extra keys are looked for where the target can be
listed (sql). Kinds that cannot be read are refused. The exit code is 0 if nothing differs and 8 if
something does.

--repair delivers the current version again to keys that are missing, behind or
different, in channels of mode latest. What is ahead or extra stays: extsync never
puts an older version over a newer one and removes only what the platform
deletes.`

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
	loader = config.NewLoader()
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupAllow)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

func auditTarget(ctx context.Context, sh *Shell, client *app.Client, r *channels.Registry, channel string, f auditFlags) (err error) {
	doc := &auditDocument{sh: sh}
	keys := &keyFile{}
	defer func() { err = errors.Join(err, keys.close()) }()
	toRepair := int64(0)
	bar := sh.progress("keys", 0)
	sum, err := client.Audit(ctx, channel, func(found app.Finding) error {
		if f.repair && repairable(found.Difference) {
			toRepair++
			if f.yes {
				if err := keys.add(found.Key); err != nil {
					return err
				}
			}
		}
		return doc.found(found)
	}, func(s app.AuditSummary) { bar.set(s.Looked) })
	bar.end()
	if err != nil {
		return errors.Join(err, doc.cutOff())
	}
	var done repaired
	if toRepair > 0 && f.yes {
		done, err = repair(ctx, sh, client, r, channel, keys, toRepair)
	}
	if err := errors.Join(err, doc.end(sum, done)); err != nil {
		return err
	}
	switch {
	case toRepair > 0 && !f.yes:
		return unconfirmed("deliver %d keys again", toRepair)
	case sum.Differences() > int64(done.Delivered): //nolint:gosec // fewer than there are keys
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
