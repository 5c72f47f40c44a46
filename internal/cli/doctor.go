package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
)

const doctorHelp = `Look at everything that extsync needs, and say for each finding what to do:

  broker           it answers
  clock            its clock and this machine's agree
  broker clocks    those of all its servers agree
  permissions      it lets this connection do what its role needs
  streams          they are as provisioning and the channels would make them
  room             no stream, and not the account, is 70 % full; 80 % counts as full
  disk             the broker can write every stream
  workers          at least one is alive
  deliveries       every partition has a worker, and nothing holds updates back
  restored         no worker found that the broker holds older files than before
  guard            how strong each channel's is, and how to try one that may not hold
  targets          they can be opened and probed from here, with the secrets here
  dead letters     none is left that is resolved
  deleted channels none is left whose 7 days are over

The exit code is 0 if all is well, 8 if there is a warning or a problem, and 3
if the broker cannot be reached. Where a partition has no worker it looks twice, 4 s
apart: a hand-over takes a moment. --fix removes resolved dead letters and deleted
channels that can no longer be restored. Streams and buckets that are gone it makes
again, empty, and says what they held: running publishers and workers go on with
them, but for the bucket of the installation: when that is gone they end, and have
to be started again. It changes nothing else.

At a broker with roles ('extsync broker-config') run it as each of them: with
the role's seed, certificate and inbox prefix. The role is known by its inbox
prefix, or given by --role. Publishers and gateways are shown the broker and
their own permissions; a worker, where the workers run, the targets too; the
admin everything. Where a permission is missing the rest is not looked at: it would
wait for answers that do not come.`

// DoctorCommand returns the command that looks for what is wrong.
func DoctorCommand(sh *Shell) *cobra.Command {
	var (
		fix    bool
		role   string
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong, and say what to do",
		Long:  doctorHelp,
		Example: `  extsync doctor
  extsync doctor --fix
  extsync doctor --role worker
  extsync doctor --json | jq '.findings[] | select(.level != "ok")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.doctor(cmd.Context(), loader, role, fix)
		},
	}
	cmd.Flags().BoolVar(&fix, "fix", false, "tidy up what can be tidied without harm")
	cmd.Flags().StringVar(&role, "role", "", "publisher, gateway, worker or admin (default: that of the inbox prefix, or else admin)")
	completeWords(cmd, "role", "publisher", "gateway", "worker", "admin")
	loader = config.NewLoader()
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupStorage, config.GroupAllow)
	return cmd
}

func (sh *Shell) doctor(ctx context.Context, loader *config.Loader, name string, fix bool) error {
	cfg, err := sh.Settings(loader)
	if err != nil {
		return err
	}
	role, err := brokerRole(name, cfg.NATS.InboxPrefix)
	if err != nil {
		return err
	}
	// What the broker refuses is what it looks for: that must not end it.
	client, err := operate.Connect(ctx, cfg, sh.Logger(cfg.Log, zerolog.Disabled))
	if err != nil {
		return err
	}
	defer client.Close()
	found, err := client.Examine(ctx, operate.ExamineOptions{Fix: fix, Role: role})
	if err != nil {
		return err
	}
	return writeFindings(sh, found)
}

// brokerRole returns the role of a name or, without one, of an inbox prefix.
func brokerRole(name, inboxPrefix string) (brokerconfig.Role, error) {
	for _, r := range brokerconfig.Roles() {
		if name == string(r) || name == "" && inboxPrefix == r.InboxPrefix() {
			return r, nil
		}
	}
	for _, group := range []string{name, strings.TrimPrefix(inboxPrefix, "_INBOX_")} {
		if r := brokerconfig.Role(group); r.IsGroup() && (name != "" || inboxPrefix == r.InboxPrefix()) {
			return r, nil
		}
	}
	if name == "" {
		return brokerconfig.Admin, nil
	}
	return "", fmt.Errorf("%w: --role: %q is none of %v, nor publisher-NAME of a group", errUsage, clean(name), brokerconfig.Roles())
}

func writeFindings(sh *Shell, found operate.Examination) error {
	text := ""
	for _, f := range found.Findings {
		line := f.Check + ": "
		if f.Subject != "" {
			line += f.Subject + ": "
		}
		level := f.Level
		if level != operate.LevelOK {
			level = sh.Strong(level)
		}
		text += level + "  " + clean(line+f.Message) + "\n"
		if f.Advice != "" {
			text += "    " + f.Advice + "\n"
		}
	}
	var err error
	if sh.JSON {
		err = sh.WriteJSON(found)
	} else {
		_, err = io.WriteString(sh.Out, text)
	}
	if err == nil && found.Bad > 0 {
		return errFound
	}
	return err
}
