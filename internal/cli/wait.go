package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// errWaited says that there was no outcome in time.
var errWaited = errors.New("no outcome in time")

// WaitCommand returns the command that waits for an outcome.
func WaitCommand(sh *Shell) *cobra.Command {
	var (
		timeout time.Duration
		topic   string
		loader  *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "wait CHANNEL KEY@VERSION",
		Short: "Wait until a version has an outcome",
		Long: `Wait until a version of a key has an outcome, whoever published it, and end with
an exit code that says which: 0 if the target holds this version or a newer one,
6 if it was given up, or superseded by a newer one that was, 5 if there is no
outcome in time, and why there is none as far as that is known.

With --topic, in place of CHANNEL, it waits for each channel that reads the topic then.`,
		Example: `  extsync wait erp_db p-2023-vax@7 --timeout 30s
  extsync wait erp_db p-2023-vax@2024-05-01T12:00:00Z && echo "it is there"
  extsync wait --topic policies p-2023-vax@7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			route, args, err := routed(topic, args)
			if err != nil {
				return err
			}
			key, version, err := splitKeyVersion(args[0])
			if err != nil {
				return err
			}
			if timeout <= 0 {
				return fmt.Errorf("%w: --timeout: %s is not more than 0", errUsage, timeout)
			}
			sh.goOn = "nothing is lost by that; 'extsync get " + clean(strings.TrimPrefix(route.Channel()+" "+key, " ")) + "' says where the update is, and the same command waits for it again"
			return sh.connected(cmd, loader, 0, func(ctx context.Context, client *operate.Client) error {
				if route.Topic() != "" {
					return waitForTopic(ctx, sh, client, events.Update{Topic: topic, Key: key, Version: version}, timeout)
				}
				w, err := waitFor(ctx, client, route.Name(), key, version, timeout)
				if err != nil {
					return err
				}
				return writeWaited(sh, w)
			})
		},
	}
	durationVar(cmd.Flags(), &timeout, "timeout", 30*time.Second, "how long to wait")
	topicFlag(cmd, &topic, 2)
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

func waitFor(ctx context.Context, client *operate.Client, channel, key string, version versioning.Version, timeout time.Duration) (operate.Waited, error) {
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ack, err := client.Wait(waiting, channel, key, version)
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, events.ErrUnavailable) && ctx.Err() == nil {
		return ack, fmt.Errorf("%w: channel %s, key %s, version %s, after %s%s", errWaited, channel, key, version, timeout,
			reason(whyText(client.Why(ctx, channel, key, version))))
	}
	return ack, err
}

// waitForTopic waits until a version has an outcome in each channel that reads its topic.
func waitForTopic(ctx context.Context, sh *Shell, client *operate.Client, u events.Update, timeout time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p, err := client.AwaitTopic(waiting, u, nil)
	if err == nil {
		err = ctx.Err() // somebody has interrupted it
	}
	if err == nil {
		err = unlessKnown(ctx, client, p, "what became of the update is not known")
	}
	if err != nil {
		return err
	}
	if sh.JSON {
		err = sh.WriteJSON(p)
	} else {
		_, err = io.WriteString(sh.Out, topicText(p.Outcome, p.Channels))
	}
	if err != nil {
		return err
	}
	err = topicVerdict(p.Receipt, p.Channels)
	if errors.Is(err, events.ErrNoAck) { // it was not published here
		err = fmt.Errorf("%w: topic %s, key %s, version %s, after %s", errWaited, u.Topic, clean(u.Key), u.Version, timeout)
	}
	return err
}

// splitKeyVersion takes KEY@VERSION apart; the key may have an @ itself.
func splitKeyVersion(text string) (string, versioning.Version, error) {
	i := strings.LastIndexByte(text, '@')
	if i < 1 {
		return "", versioning.Version{}, fmt.Errorf("%w: %q is not KEY@VERSION", errUsage, clean(text))
	}
	v, err := versioning.Parse(text[i+1:])
	if err != nil {
		return "", v, fmt.Errorf("%w: %w", errUsage, err)
	}
	return text[:i], v, nil
}

func writeWaited(sh *Shell, w operate.Waited) error {
	var err error
	if sh.JSON {
		err = sh.WriteJSON(w)
	} else {
		_, err = io.WriteString(sh.Out, ackText(w.Ack))
	}
	if err != nil {
		return err
	}
	decides := &w.Ack
	if w.Newest != nil {
		decides = w.Newest
	}
	p := pushed{Receipt: events.Receipt{Channel: decides.Channel, Key: decides.Key, Version: decides.Version}, Ack: decides}
	return p.verdict()
}
