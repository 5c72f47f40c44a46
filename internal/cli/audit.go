package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
)

const targetAuditHelp = `Read back from a channel's target which versions it holds, and compare them with
what the ledger says was delivered:

  missing    the target does not have the key
  behind     it holds an older version
  ahead      it holds a newer version, which extsync did not deliver
  different  it holds the same version with another digest, or with content that
             somebody has changed there: kind sql compares its columns with what the
             channel's stream has, mapped as it is delivered, in mode latest
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
deletes. The last lines say what to do about it.`

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
			return sh.withRegistry(cmd, loader, 0, func(ctx context.Context, client *operate.Client, r *channels.Registry) error {
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

func auditTarget(ctx context.Context, sh *Shell, client *operate.Client, r *channels.Registry, channel string, f auditFlags) (err error) {
	sh.goOn = "nothing was changed at the target; an audit begins anew when it is run again"
	doc := &auditDocument{sh: sh}
	keys := &keyFile{}
	defer func() { err = errors.Join(err, keys.close()) }()
	toRepair := int64(0)
	bar := sh.progress("keys", 0)
	sum, err := client.Audit(ctx, channel, func(found operate.Finding) error {
		if f.repair && repairable(found.Difference) {
			toRepair++
			if f.yes {
				if err := keys.add(found.Key); err != nil {
					return err
				}
			}
		}
		return doc.found(found)
	}, func(s operate.AuditSummary) { bar.set(s.Looked) })
	bar.end()
	if err != nil {
		return errors.Join(err, doc.cutOff())
	}
	var done repaired
	if toRepair > 0 && f.yes {
		sh.goOn = "the workers go on with what was begun ('extsync resync " + channel + " --follow'); run the audit again for the rest"
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

func repairable(d operate.Difference) bool {
	return d == operate.DiffMissing || d == operate.DiffBehind || d == operate.DiffDifferent
}

func findingText(f operate.Finding) string {
	switch f.Difference {
	case operate.DiffMissing:
		return fmt.Sprintf("missing    %s: version %s was delivered", f.Key, f.Ledger.Version)
	case operate.DiffExtra:
		return "extra      " + f.Key
	case operate.DiffDifferent:
		if len(f.Changed) > 0 {
			return fmt.Sprintf("different  %s: version %s was delivered, and changed at the target in: %s", f.Key, f.Ledger.Version, strings.Join(f.Changed, ", "))
		}
		fallthrough
	default:
		return fmt.Sprintf("%-10s %s: version %s was delivered, the target holds %s", f.Difference, f.Key, f.Ledger.Version, f.Holds.Version)
	}
}
