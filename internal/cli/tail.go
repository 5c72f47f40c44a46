package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// tailFlags say what tail shows.
type tailFlags struct {
	key     string
	since   time.Duration
	count   int
	failing bool
}

// TailCommand returns the command that shows outcomes as they come.
func TailCommand(sh *Shell) *cobra.Command {
	var (
		f      tailFlags
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "tail [CHANNEL]",
		Short: "Show outcomes as they come",
		Long: `Show the entries of the outcome log as they come, until interrupted: outcomes, and
failed attempts that will be repeated. With --json each entry is one line.`,
		Example: `  extsync tail
  extsync tail erp_db --since 10m --failing
  extsync tail --key p-2023-vax --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.since < 0 || f.count < 0 {
				return fmt.Errorf("%w: --since and --count are not less than 0", errUsage)
			}
			return sh.connected(cmd, loader, 0, func(ctx context.Context, client *operate.Client) error {
				return tail(ctx, sh, client, strings.Join(args, ""), f)
			})
		},
	}
	cmd.Flags().StringVar(&f.key, "key", "", "of this key only")
	durationVar(cmd.Flags(), &f.since, "since", 0, "begin so long ago; 0 begins now")
	cmd.Flags().IntVar(&f.count, "count", 0, "end after so many entries; 0 does not end")
	cmd.Flags().BoolVar(&f.failing, "failing", false, "leave out what was delivered or superseded")
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

// tailed is an entry as tail writes it.
type tailed struct {
	Channel string `json:"channel"`
	wire.HistoryEntry
}

func tail(ctx context.Context, sh *Shell, client *operate.Client, channel string, f tailFlags) error {
	filter := wire.OutcomeSubjects(client.Names)
	if channel != "" {
		registry, err := client.Registry(ctx)
		if err != nil {
			return err
		}
		if _, err := registry.Get(ctx, channel); err != nil {
			return err
		}
		filter = wire.OutcomesOf(client.Names, channel)
	}
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverNewPolicy}
	if f.since > 0 {
		start := time.Now().Add(-f.since)
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	consumer, err := client.JS.OrderedConsumer(ctx, wire.OutcomeStream(client.Names), cfg)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: stream %s is missing", events.ErrNotProvisioned, wire.OutcomeStream(client.Names))
	}
	if err != nil {
		return fmt.Errorf("read the outcome log: %w", err)
	}
	it, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read the outcome log: %w", err)
	}
	defer it.Stop()
	shown := 0
	for {
		msg, err := wire.NextMessage(ctx, it)
		if ctx.Err() != nil {
			return nil // that is how it ends
		}
		if err != nil {
			return fmt.Errorf("read the outcome log: %w", err)
		}
		group, err := wire.DecodeGroup(msg.Data())
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		for _, e := range group.Entries {
			if f.key != "" && e.Key != f.key || f.failing && (e.Outcome == events.Delivered || e.Outcome == events.Superseded || e.Head) {
				continue
			}
			entry := tailed{group.Channel, wire.HistoryEntry{Entry: e, Worker: group.Worker, Partition: group.Partition, LogSequence: meta.Sequence.Stream}}
			if err := writeTailed(sh, entry); err != nil {
				return err
			}
			if shown++; shown == f.count {
				return nil
			}
		}
	}
}

func writeTailed(sh *Shell, e tailed) error {
	if sh.JSON {
		enc := json.NewEncoder(sh.Out)
		enc.SetEscapeHTML(false)
		return enc.Encode(e)
	}
	text := timeText(e.At) + " " + e.Channel + " " + e.Key + " " + entryText(e.Entry)
	if e.Response != "" && e.Outcome != events.Delivered {
		text += "; the target answered: " + e.Response
	}
	_, err := io.WriteString(sh.Out, clean(text)+"\n")
	return err
}

// entryText returns what an entry of the log says of its key, for people.
func entryText(e wire.Entry) string {
	text := e.Version.String() + " " + string(e.Outcome)
	if e.Head {
		text += " behind an older version"
	}
	if e.Op == events.Delete {
		text += " (delete)"
	}
	if !e.By.IsZero() {
		text += " by version " + e.By.String()
	}
	if e.Attempts > 1 {
		text += fmt.Sprintf(" after %d attempts", e.Attempts)
	}
	text += reason(e.Class, e.Code, e.Message)
	if !e.NextAttempt.IsZero() {
		text += ", again at " + timeText(e.NextAttempt)
	}
	return strings.TrimSpace(text)
}
