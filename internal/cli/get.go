package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/events"
)

const getHelp = `Tell where the newest update of a key is, in every channel.

State is the outcome of the newest version (delivered, superseded, conflict or
dead_lettered), or absent, pending, retrying, parked or malformed. What the
ledger says may be about a second old.`

// GetCommand returns the command that tells where an update is.
func GetCommand(sh *Shell) *cobra.Command {
	var channel string
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Tell where an update is, in every channel",
		Long:  getHelp,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), readTimeout)
			defer cancel()
			client, err := sh.Connect(ctx, loader)
			if err != nil {
				return err
			}
			defer client.Close()
			found, err := client.Find(ctx, args[0], channel)
			if err != nil {
				return err
			}
			if sh.JSON {
				return sh.WriteJSON(struct {
					Key      string            `json:"key"`
					Channels []app.Whereabouts `json:"channels"`
				}{args[0], found})
			}
			return writeWhereabouts(sh, found)
		},
	}
	cmd.Flags().StringVar(&channel, "channel", "", "look at this channel only")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}

// writeWhereabouts writes the answer of get for people.
func writeWhereabouts(sh *Shell, found []app.Whereabouts) error {
	rows := make([][]string, len(found))
	for i, w := range found {
		rows[i] = []string{
			w.Channel, versionText(w.Newest), versionText(w.Target), w.State, attemptsText(w.Attempts),
			timeText(w.NextAttempt), failureText(w.Error),
		}
	}
	return writeTable(sh.Out, []string{"CHANNEL", "NEWEST", "AT TARGET", "STATE", "ATTEMPTS", "NEXT ATTEMPT", "LAST ERROR"}, rows)
}

func versionText(c app.Copy) string {
	if c.Op == events.Delete {
		return c.Version.String() + " (deleted)"
	}
	return c.Version.String()
}

func attemptsText(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func failureText(f *events.Failure) string {
	if f == nil {
		return ""
	}
	text := reason(f.Class, f.Code, f.Message)
	return text[min(len(text), len(": ")):]
}
