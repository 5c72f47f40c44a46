package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
)

const statusHelp = `Show how the channels stand, on one screen.

UNDELIVERED counts updates without an outcome, parked ones included. With <= a few
too many may be counted: workers say every 0.5 to 3 s what they have done, and where
none is at work the updates behind the floor count, of which some may be settled.
OLDEST is since when the oldest of them waits. IN and OUT are updates a second, with
--watch or --interval: they are measured between two looks. DEAD counts dead letters. A circuit that is open waits
for the target to come back; one that is blocked waits for you. Both are probed from
time to time; the next probe is shown, and 'extsync channels probe' does not wait for it.

A channel is blocked where nothing gets through until somebody acts, at one of its
workers at least, and stalled where updates wait for another reason that is an alarm:
no worker, no progress, a target that fails. Below the table are the reasons for
which partitions do not move, each with the worker that says so and what to do.
"broker restored" means that a worker has found older files at the broker than before,
and nobody has run 'extsync recover'.`

const (
	clearScreen = "\x1b[H\x1b[2J"
	minInterval = 200 * time.Millisecond
)

// statusLine is a channel's status with its rates.
type statusLine struct {
	operate.ChannelStatus
	// In and Out are measured between two looks; nil if there was one.
	In  *float64 `json:"in_per_second,omitempty"`
	Out *float64 `json:"out_per_second,omitempty"`
}

// StatusCommand returns the command that shows how all channels stand.
func StatusCommand(sh *Shell) *cobra.Command {
	var (
		watch    bool
		interval time.Duration
		loader   *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "status [CHANNEL]",
		Short: "Show how the channels stand",
		Long:  statusHelp,
		Example: `  extsync status
  extsync status --watch
  extsync status erp_db --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if interval < minInterval {
				return fmt.Errorf("%w: --interval: %s is less than %s", errUsage, interval, minInterval)
			}
			channel := strings.Join(args, "")
			return sh.connected(cmd, loader, 0, func(ctx context.Context, client *operate.Client) error {
				if !watch && !cmd.Flags().Changed("interval") {
					interval = 0
				}
				return showStatus(ctx, sh, client, channel, interval, watch)
			})
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again and again until interrupted")
	durationVar(cmd.Flags(), &interval, "interval", time.Second, "measure rates between two looks, so far apart")
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

// showStatus shows the channels once, and how they change in an interval unless that is 0.
func showStatus(ctx context.Context, sh *Shell, client *operate.Client, channel string, interval time.Duration, watch bool) error {
	look := func() (operate.Status, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		return client.Status(ctx, channel)
	}
	before, err := look()
	if err != nil {
		return err
	}
	at := time.Now()
	if interval == 0 {
		return writeStatus(sh, statusLines(nil, before.Channels, 0), false)
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if watch { // that is how it ends
				return nil
			}
			return ctx.Err()
		case <-tick.C:
		}
		now, err := look()
		if ctx.Err() != nil && watch {
			return nil
		}
		if err != nil {
			return err
		}
		lines := statusLines(before.Channels, now.Channels, time.Since(at))
		before, at = now, time.Now()
		if err := writeStatus(sh, lines, watch); err != nil || !watch {
			return err
		}
	}
}

// statusLines adds the rates between two looks, of channels that both have seen.
func statusLines(before, now []operate.ChannelStatus, apart time.Duration) []statusLine {
	old := map[string]operate.ChannelStatus{}
	for _, s := range before {
		old[s.Channel] = s
	}
	lines := make([]statusLine, len(now))
	for i, s := range now {
		lines[i].ChannelStatus = s
		b, ok := old[s.Channel]
		if !ok || s.Published < b.Published { // it is new, or was made anew
			continue
		}
		in := float64(s.Published - b.Published)
		out := in - (float64(s.Undelivered) - float64(b.Undelivered))
		in, out = in/apart.Seconds(), max(out/apart.Seconds(), 0)
		lines[i].In, lines[i].Out = &in, &out
	}
	return lines
}

func writeStatus(sh *Shell, lines []statusLine, watch bool) error {
	if sh.JSON {
		return sh.WriteJSON(struct {
			Channels []statusLine `json:"channels"`
		}{lines})
	}
	var screen strings.Builder
	if watch && sh.color(sh.Out) {
		screen.WriteString(clearScreen)
	}
	rows := make([][]string, len(lines))
	for i, l := range lines {
		oldest := ""
		if !l.Oldest.IsZero() {
			oldest = (time.Duration(l.OldestSeconds) * time.Second).String()
		}
		undelivered := strconv.FormatUint(l.Undelivered, 10)
		if l.AtMost {
			undelivered = "<=" + undelivered
		}
		circuit := l.Circuit
		if !l.Restored.IsZero() {
			circuit = strings.TrimPrefix(circuit+"; broker restored: run 'extsync recover'", "; ")
		}
		if !l.NextProbe.IsZero() {
			circuit += "; " + probeText(l.NextProbe)
		}
		rows[i] = []string{
			l.Channel, l.State, string(l.Health), undelivered, oldest, rateText(l.In), rateText(l.Out),
			strconv.FormatUint(l.Dead, 10), strings.Join(l.Workers, ","), circuit,
		}
	}
	if err := writeTable(&screen, []string{"CHANNEL", "STATE", "HEALTH", "UNDELIVERED", "OLDEST", "IN/S", "OUT/S", "DEAD", "WORKER", "CIRCUIT"}, rows); err != nil {
		return err
	}
	for _, l := range lines {
		writeReasons(&screen, sh, l)
	}
	_, err := io.WriteString(sh.Out, screen.String())
	return err
}

// writeReasons writes why a channel does not move, one reason a line.
func writeReasons(screen *strings.Builder, sh *Shell, l statusLine) {
	for i := range l.Reasons {
		f := &l.Reasons[i]
		name := l.Channel
		if f.Alarm {
			name = sh.Strong(name)
		}
		screen.WriteString(name + "  " + clean(f.String()) + "\n    " + f.Advice + "\n")
	}
}

// rateText returns a rate for people, "" if it was not measured.
func rateText(r *float64) string {
	if r == nil {
		return ""
	}
	return strconv.FormatFloat(*r, 'f', 1, 64)
}
