package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
)

const doctorHelp = `Look at everything that extsync needs, and say for each finding what to do:

  broker           it answers; its clock and this machine's agree
  streams          they are as provisioning and the channels would make them
  room             no stream is 70 % full
  workers          at least one is alive
  channels         no circuit is open or blocked
  targets          they can be opened and probed from here, with the secrets here
  dead letters     none is left that is resolved
  deleted channels none is left whose 7 days are over

The exit code is 0 if all is well, 8 if there is a warning or a problem, and 3
if the broker cannot be reached. --fix removes resolved dead letters and deleted
channels that can no longer be restored; it changes nothing else.`

// DoctorCommand returns the command that looks for what is wrong.
func DoctorCommand(sh *Shell) *cobra.Command {
	var (
		fix    bool
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong, and say what to do",
		Long:  doctorHelp,
		Example: `  extsync doctor
  extsync doctor --fix
  extsync doctor --json | jq '.findings[] | select(.level != "ok")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.connected(cmd, loader, 0, func(ctx context.Context, client *app.Client) error {
				findings, err := client.Examine(ctx, fix)
				if err != nil {
					return err
				}
				return writeFindings(sh, findings)
			})
		},
	}
	cmd.Flags().BoolVar(&fix, "fix", false, "tidy up what can be tidied without harm")
	loader = config.NewLoader()
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupStorage)
	return cmd
}

func writeFindings(sh *Shell, findings []app.Diagnosis) error {
	bad := 0
	text := ""
	for _, f := range findings {
		if f.Level != app.LevelOK {
			bad++
		}
		line := f.Check + ": "
		if f.Subject != "" {
			line += f.Subject + ": "
		}
		level := f.Level
		if level != app.LevelOK {
			level = sh.Strong(level)
		}
		text += level + "  " + clean(line+f.Message) + "\n"
		if f.Advice != "" {
			text += "    " + f.Advice + "\n"
		}
	}
	var err error
	if sh.JSON {
		err = sh.WriteJSON(struct {
			Bad      int             `json:"bad"`
			Findings []app.Diagnosis `json:"findings"`
		}{bad, findings})
	} else {
		_, err = io.WriteString(sh.Out, text)
	}
	if err == nil && bad > 0 {
		return errFound
	}
	return err
}
