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
	"github.com/hms-utl/extsync/pkg/why"
)

const workersHelp = `Show the connector-workers, the shards that each has, its last beat, what does not
move there and why, and the partitions that nobody has.

A worker announces itself every second or two. It is alive while its last beat is
younger than its lease lasts (4 s on one broker, 10 s in a cluster) when compared
with the newest beat of all, draining if it was told to end and still works; else it
is gone, and its record goes by itself. When all are silent they count as gone after
three times as long: a broker that was away hears from them late. WANTS
are shards that are the worker's share and that it does not get.

Where a partition has no worker the command looks twice, 4 s apart: a hand-over
takes a moment. The exit code is 8 if updates wait in a partition that has no worker.`

// WorkersCommand returns the command that shows the workers.
func WorkersCommand(sh *Shell) *cobra.Command {
	var loader *config.Loader
	cmd := &cobra.Command{
		Use:   "workers",
		Short: "Show the workers, what each waits for, and what nobody works on",
		Long:  workersHelp,
		Example: `  extsync workers
  extsync workers --json | jq '.unowned'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				found, err := client.Workers(ctx)
				if err != nil {
					return err
				}
				if sh.JSON {
					err = sh.WriteJSON(found)
				} else {
					err = writeWorkers(sh, found)
				}
				if err == nil && found.Waiting() {
					return errFound
				}
				return err
			})
		},
	}
	loader = brokerFlags(cmd)
	return cmd
}

func writeWorkers(sh *Shell, found operate.Workers) error {
	rows := make([][]string, len(found.Workers))
	for i, w := range found.Workers {
		state := "alive"
		switch {
		case !w.Alive:
			state = "gone"
		case w.Draining:
			state = "draining"
		}
		rows[i] = []string{
			w.Worker, state, secondsText(w.Age) + " ago", numbers(w.Shards), numbers(w.Wants), strconv.Itoa(w.Channels),
			strconv.Itoa(len(w.Waits) + w.More), timeText(w.Started),
		}
	}
	if len(rows) == 0 {
		if _, err := fmt.Fprintln(sh.Out, "no worker has announced itself"); err != nil {
			return err
		}
	} else if err := writeTable(sh.Out, []string{"WORKER", "STATE", "LAST BEAT", "SHARDS", "WANTS", "CHANNELS", "WAITS", "STARTED"}, rows); err != nil {
		return err
	}
	text := ""
	for _, w := range found.Workers {
		if w.Error != "" {
			text += sh.Strong(clean(w.Worker)) + "\n  " + clean(w.Error) + "\n"
		}
		if len(w.Waits) == 0 {
			continue
		}
		text += sh.Strong(clean(w.Worker)) + "\n"
		for i := range w.Waits {
			wait := &w.Waits[i]
			text += "  " + clean(fmt.Sprintf("%s%s: %s: %s", wait.Channel, partitionsOf(wait.Partitions), wait.Code, wait.String())) + "\n"
		}
		if w.More > 0 {
			text += fmt.Sprintf("  and %d more that its record has no room for\n", w.More)
		}
	}
	for i := range found.Unowned {
		u := &found.Unowned[i]
		text += sh.Strong("nobody") + "  " + clean(u.Channel+": "+u.String()) + "\n    " + why.NoWorker.Advice() + "\n"
	}
	_, err := io.WriteString(sh.Out, text)
	return err
}

func partitionsOf(partitions []int) string {
	if len(partitions) == 0 {
		return ""
	}
	return " [" + numbers(partitions) + "]"
}

func secondsText(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond).String()
}

// numbers writes ascending numbers, runs of them shortened: 1-4,7.
func numbers(list []int) string {
	var out []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		text := strconv.Itoa(list[i])
		if j > i {
			text += "-" + strconv.Itoa(list[j])
		}
		out = append(out, text)
		i = j + 1
	}
	return strings.Join(out, ",")
}
