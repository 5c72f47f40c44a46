package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/events"
)

// topicName is the flag that takes the place of the argument CHANNEL.
const topicName = "topic"

// topicFlag lets a command that takes CHANNEL first take a topic by a flag instead. n is how
// many arguments the command has, CHANNEL among them.
func topicFlag(cmd *cobra.Command, topic *string, n int) {
	cmd.Flags().StringVar(topic, topicName, "", "a topic, in place of CHANNEL: all channels that read it")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if *topic != "" {
			return cobra.ExactArgs(n-1)(cmd, args)
		}
		return cobra.ExactArgs(n)(cmd, args)
	}
}

// byTopic reports whether a command was given a topic in place of CHANNEL.
func byTopic(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup(topicName)
	return f != nil && f.Value.String() != ""
}

// routed returns where a command publishes, and its other arguments.
func routed(topic string, args []string) (events.Route, []string, error) {
	if topic == "" {
		return events.ToChannel(args[0]), args[1:], nil
	}
	if err := events.CheckTopic(topic); err != nil {
		return events.Route{}, nil, fmt.Errorf("%w: --topic: %w", errUsage, err)
	}
	return events.ToTopic(topic), args, nil
}

// routeOf returns where an update was published.
func routeOf(r events.Receipt) events.Route {
	if r.Topic != "" {
		return events.ToTopic(r.Topic)
	}
	return events.ToChannel(r.Channel)
}

// topicText returns what became of a topic's update, for people: a line for each channel.
func topicText(outcome operate.TopicOutcome, answers []operate.TopicAnswer) string {
	if outcome == operate.TopicUnread {
		return "no channel takes the key\n"
	}
	var b strings.Builder
	for _, a := range answers {
		switch {
		case a.Ack != nil:
			fmt.Fprintf(&b, "%s: %s", a.Channel, ackText(*a.Ack))
		default:
			fmt.Fprintf(&b, "%s: no outcome yet%s\n", a.Channel, clean(reason(whyText(a.Why))))
		}
	}
	return b.String()
}

// topicVerdict returns an error unless each target holds the version that was published, or a
// newer one. What was given up weighs more than what is open.
func topicVerdict(r events.Receipt, answers []operate.TopicAnswer) error {
	var failed, open []string
	for _, a := range answers {
		switch {
		case a.Ack == nil:
			open = append(open, a.Channel)
		case a.Ack.Outcome != events.Delivered && a.Ack.Outcome != events.Superseded:
			failed = append(failed, fmt.Sprintf("in channel %s as %s%s", a.Channel, a.Ack.Outcome, reason(a.Ack.Class, a.Ack.Code, a.Ack.Message)))
		}
	}
	what := fmt.Sprintf("topic %s, key %s, version %s", r.Topic, clean(r.Key), r.Version)
	switch {
	case len(failed) > 0:
		return fmt.Errorf("%w: %s ended %s", errUndelivered, what, strings.Join(failed, ", "))
	case len(open) > 0:
		return fmt.Errorf("%w: %s: %s", events.ErrNoAck, what, strings.Join(open, ", "))
	}
	return nil
}

// unlessKnown is an error if the connection was lost, or the command ended, before each channel
// had an outcome: then it is not known whether there is one.
func unlessKnown(ctx context.Context, client *operate.Client, p operate.TopicPublished, what string) error {
	if p.Outcome == "" || len(p.Open()) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil || client.Conn.IsConnected() {
		return err
	}
	return fmt.Errorf("%w: the connection to the broker is lost; %s", events.ErrUnavailable, what)
}
