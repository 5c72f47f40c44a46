package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
)

const getHelp = `Tell where the newest update of a key is, in every channel or in one. The topics that
hold the key come first: their version is what the channels that read them are to hold.

State is the outcome of the newest version (delivered, superseded, conflict or
dead_lettered), or absent, pending, retrying, parked or malformed. The answer
has every outcome whose ack was sent. For a version without an outcome it says
what holds the channel or the key's partition back, at which worker, and what to do.

An update that waits for its channel's circuit is tried after the next probe, which
is shown; 'extsync channels probe' does not wait for it.

--timeline adds what the outcome log says of the key, newest first. The log is
read backwards for a few seconds at most.

--read-back has the worker that owns the key read it at the target, and shows field by
field how that differs from what the channel would send now. It needs CHANNEL. The audit log
has a record of it, since it shows contents; fields that the channel redacts stay hidden.`

// getFlags say what get looks for.
type getFlags struct {
	channel  string
	timeline bool
	readBack bool
	entries  int
}

// GetCommand returns the command that tells where an update is.
func GetCommand(sh *Shell) *cobra.Command {
	var f getFlags
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "get [CHANNEL] KEY",
		Short: "Tell where an update is, in every channel",
		Long:  getHelp,
		Example: `  extsync get p-2023-vax
  extsync get erp_db p-2023-vax --timeline
  extsync get erp_db p-2023-vax --read-back`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			key := args[len(args)-1]
			if len(args) == 2 {
				if f.channel != "" && f.channel != args[0] {
					return fmt.Errorf("%w: two channels are named", errUsage)
				}
				f.channel = args[0]
			}
			if f.entries < 1 || f.entries > wire.MaxHistory {
				return fmt.Errorf("%w: --entries: %d is outside 1..%d", errUsage, f.entries, wire.MaxHistory)
			}
			if f.readBack && (f.channel == "" || f.timeline) {
				return fmt.Errorf("%w: --read-back needs CHANNEL, and takes no --timeline", errUsage)
			}
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				if f.readBack {
					return readBack(ctx, sh, client, f.channel, key)
				}
				doc, err := client.Look(ctx, f.lookup(key))
				if err != nil {
					return err
				}
				if sh.JSON {
					return sh.WriteJSON(doc)
				}
				return writeFound(sh, doc)
			})
		},
	}
	cmd.Flags().StringVar(&f.channel, "channel", "", "look at this channel only")
	cmd.Flags().BoolVar(&f.timeline, "timeline", false, "show the history of the key, too")
	cmd.Flags().BoolVar(&f.readBack, "read-back", false, "have a worker read the key at the target, and show how it differs")
	cmd.Flags().IntVar(&f.entries, "entries", 10, "how many entries of the history, in each channel")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

func (f *getFlags) lookup(key string) operate.Lookup {
	l := operate.Lookup{Key: key, Channel: f.channel}
	if f.timeline {
		l.Timeline = f.entries
	}
	return l
}

// writeFound writes the answer of get for people.
func writeFound(sh *Shell, doc operate.Found) error {
	for _, w := range doc.Topics {
		holds := versionText(w.Newest)
		if w.Malformed != "" {
			holds = "a message that is no update: " + w.Malformed
		}
		if _, err := fmt.Fprintf(sh.Out, "%s %s\n", sh.Strong("topic "+w.Topic+":"), clean(holds)); err != nil {
			return err
		}
	}
	rows := make([][]string, len(doc.Channels))
	for i, w := range doc.Channels {
		rows[i] = []string{
			w.Channel, versionText(w.Newest), versionText(w.Target), string(w.Sync), string(w.Health), w.State, attemptsText(w.Attempts),
			nextText(w), failureText(w.Error),
		}
	}
	if err := writeTable(sh.Out, []string{"CHANNEL", "NEWEST", "AT TARGET", "SYNC", "HEALTH", "STATE", "ATTEMPTS", "NEXT ATTEMPT", "LAST ERROR"}, rows); err != nil {
		return err
	}
	for _, w := range doc.Channels {
		if w.Error != nil && w.Error.Response != "" {
			if _, err := fmt.Fprintf(sh.Out, "\n%s %s\n", sh.Strong(w.Channel+" answered:"), clean(w.Error.Response)); err != nil {
				return err
			}
		}
		if w.Why == nil {
			continue
		}
		if _, err := fmt.Fprintf(sh.Out, "%s  %s\n    %s\n", sh.Strong(w.Channel), clean(whyText(w.Why)), w.Why.Advice); err != nil {
			return err
		}
	}
	for _, w := range doc.Channels {
		if w.Timeline == nil {
			continue
		}
		if err := writeTimeline(sh, w.Channel, *w.Timeline); err != nil {
			return err
		}
	}
	return nil
}

// nextText returns when a key is tried again.
func nextText(w operate.Whereabouts) string {
	probed := w.Why != nil && w.Why.Code.Probed()
	switch {
	case !probed && w.NextAttempt.IsZero() && w.State == string(wire.StateRetrying):
		return "due"
	case !probed:
		return timeText(w.NextAttempt)
	default:
		return probeText(w.NextAttempt)
	}
}

// probeText says when a target is tried again. A time that is over was that of a probe
// which is on its way, or about to be.
func probeText(next time.Time) string {
	if next.Before(time.Now()) {
		return "a probe is due"
	}
	return "next probe " + timeText(next)
}

func writeTimeline(sh *Shell, channel string, line wire.Timeline) error {
	text := "\n" + sh.Strong(channel) + "\n"
	for _, e := range line.Entries {
		text += "  " + clean(timeText(e.At)+"  "+entryText(e.Entry)+"  ("+e.Worker+")") + "\n"
		if e.Response != "" {
			text += "    answer: " + clean(e.Response) + "\n"
		}
	}
	switch {
	case !line.Complete && line.Since.IsZero():
		text += "  the log could not be read in time\n"
	case !line.Complete:
		text += "  there may be older entries, from before " + timeText(line.Since) + "\n"
	}
	_, err := io.WriteString(sh.Out, text)
	return err
}

// whyText returns why something does not move, "" for nothing.
func whyText(r *why.Reason) string {
	if r == nil {
		return ""
	}
	return string(r.Code) + ": " + r.String()
}

func versionText(c operate.Copy) string {
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
