package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/why"
)

// maxData bounds what push reads, in bytes. The broker's own limit is lower
// unless somebody raised it to the most that NATS allows.
const maxData = 64 << 20

const pushHelp = `Publish one version of an entity on a channel, or on a topic for all channels that
read it (--topic, in place of CHANNEL).

The broker stores it unless the channel or topic has a newer version of the key (stale),
or the same version with other content (conflict). Repeating a push is safe.

VERSION is a number (7) or an RFC 3339 time (2024-05-01T12:00:00Z).

With --topic, --wait waits for the outcome in each channel that reads the topic then.
The exit code is 0 if all targets hold the version or a newer one, 6 if one was given
up, 5 if one has no outcome in time.

With the variable OTEL_EXPORTER_OTLP_ENDPOINT the push is the beginning of a trace
that leads over the attempts of the worker to the ack.`

// pushExample is of the program that has the command.
const pushExample = `  PROGRAM push appointment_calendar p-2023-vax 7 --data '{"content":"Booster every 6 months"}' --wait 10s
  PROGRAM push erp_db p-2023-vax 8 --data @policy.json --base 7
  PROGRAM push erp_db p-2023-vax 9 --op delete
  PROGRAM push --topic policies p-2023-vax 7 --data @policy.json --wait 10s`

type pushFlags struct {
	data, op, base, contentType, service, topic string
	wait                                        time.Duration
}

// PushCommand returns the command that publishes one update, for a program.
func PushCommand(sh *Shell, program string) *cobra.Command {
	var f pushFlags
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "push CHANNEL KEY VERSION",
		Short: "Publish one version of an entity",
		Long:  pushHelp, Example: strings.ReplaceAll(pushExample, "PROGRAM", program),
		RunE: func(cmd *cobra.Command, args []string) error {
			return push(cmd.Context(), sh, loader, program, f, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.data, "data", "", "payload: the text itself, @file, or - for standard input; a delete has none")
	flags.StringVar(&f.op, "op", string(events.Upsert), "upsert or delete")
	flags.StringVar(&f.base, "base", "", "version that this one was made from; refused unless it is the newest")
	flags.StringVar(&f.contentType, "content-type", events.DefaultContentType, "media type of the payload")
	flags.StringVar(&f.service, "service", "", "name of a service for which the broker keeps the ack for 24h")
	durationVar(flags, &f.wait, "wait", 0, "how long to wait for the ack; 0 does not wait")
	topicFlag(cmd, &f.topic, 3)
	loader.Declare(flags, config.GroupCommon, config.GroupNATS)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

// pushed is what push tells.
type pushed struct {
	events.Receipt
	AckSubject string      `json:"ack_subject,omitempty"`
	Ack        *events.Ack `json:"ack,omitempty"`
	// Why no ack came, if something is known to hold the update back.
	Why *why.Reason `json:"why,omitempty"`
	// Outcome and Channels are, of a topic's update, in place of Ack and Why.
	Outcome  operate.TopicOutcome  `json:"outcome,omitempty"`
	Channels []operate.TopicAnswer `json:"channels,omitempty"`
}

// refused is what push tells when the version guard said no.
type refused struct {
	Channel string             `json:"channel,omitempty"`
	Topic   string             `json:"topic,omitempty"`
	Key     string             `json:"key"`
	Version versioning.Version `json:"version"`
	Refused string             `json:"refused"` // stale or conflict
	Head    versioning.Tag     `json:"head"`
}

func push(ctx context.Context, sh *Shell, loader *config.Loader, program string, f pushFlags, args []string) error {
	u, err := f.update(sh.In, args)
	if err != nil {
		return err
	}
	client, err := sh.Connect(ctx, loader)
	if err != nil {
		return err
	}
	defer client.Close()
	if f.service != "" {
		if u.ReplyTo, err = client.Names.ServiceAck(f.service, uuid.NewString()); err != nil {
			return fmt.Errorf("%w: --service: %w", events.ErrInvalidUpdate, err)
		}
	}
	if f.wait > 0 {
		at := strings.TrimPrefix(u.Channel+" "+clean(u.Key), " ")
		sh.goOn = "it may be stored: 'extsync get " + at + "' says where it is, and the same command may be run again"
	}
	result, err := send(ctx, client, program, u, f.wait)
	var head *events.HeadError
	if errors.As(err, &head) && sh.JSON {
		return errors.Join(err, sh.WriteJSON(refused{head.Channel, head.Topic, head.Key, head.Refused.Version, head.Reason.Error(), head.Head}))
	}
	if errors.Is(err, events.ErrUnknownChannel) {
		return meantChannel(ctx, client, u.Channel, err)
	}
	if result == nil {
		return err
	}
	if werr := result.write(sh); werr != nil {
		return werr
	}
	switch {
	case err == nil && result.Ack != nil:
		return result.verdict()
	case err == nil && result.Outcome != "":
		return topicVerdict(result.Receipt, result.Channels)
	}
	return err
}

// update puts the update together and checks it before there is a connection.
func (f pushFlags) update(in io.Reader, args []string) (events.Update, error) {
	route, args, err := routed(f.topic, args)
	if err != nil {
		return events.Update{}, err
	}
	u := events.Update{Channel: route.Channel(), Topic: route.Topic(), Key: args[0], Op: events.Op(f.op), ContentType: f.contentType}
	if u.Version, err = versioning.Parse(args[1]); err != nil {
		return u, fmt.Errorf("%w: version: %w", events.ErrInvalidUpdate, err)
	}
	if f.base != "" {
		if u.Base, err = versioning.Parse(f.base); err != nil {
			return u, fmt.Errorf("%w: --base: %w", events.ErrInvalidUpdate, err)
		}
	}
	if f.wait < 0 {
		return u, fmt.Errorf("%w: --wait: %s is less than 0", errUsage, f.wait)
	}
	if u.Payload, err = readData(in, f.data); err != nil {
		return u, err
	}
	u = u.WithDefaults() // only now: the id is made of the payload, too
	if err := u.ValidateNew(); err != nil {
		return u, err
	}
	if err := u.CheckPayload(); err != nil {
		return u, fmt.Errorf("%w (--data, --content-type, --op)", err)
	}
	return u, nil
}

func readData(in io.Reader, data string) ([]byte, error) {
	name, isFile := strings.CutPrefix(data, "@")
	switch {
	case data == "-":
	case isFile:
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--data: %w", err)
		}
		defer func() { _ = file.Close() }() // only read from
		in = file
	default:
		return []byte(data), nil
	}
	payload, err := io.ReadAll(io.LimitReader(in, maxData+1))
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	if len(payload) > maxData {
		return nil, fmt.Errorf("%w: --data: more than %d bytes", events.ErrTooLarge, maxData)
	}
	return payload, nil
}

// send publishes, and waits for the ack if asked to. The result is nil if
// nothing was stored.
func send(ctx context.Context, client *operate.Client, program string, u events.Update, wait time.Duration) (*pushed, error) {
	publisher, done, err := client.TracedPublisher(ctx, program)
	if err != nil {
		return nil, err
	}
	defer done()
	result := &pushed{AckSubject: u.ReplyTo}
	if u.Topic != "" {
		p, err := client.PublishTopic(ctx, publisher, u, wait, nil)
		if err != nil {
			return nil, err
		}
		result.Receipt, result.Outcome, result.Channels = p.Receipt, p.Outcome, p.Channels
		return result, unlessKnown(ctx, client, p, "the update is stored")
	}
	if wait == 0 {
		result.Receipt, err = publisher.Publish(ctx, u)
		if err != nil {
			return nil, err
		}
		return result, nil
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var ack events.Ack
	result.Receipt, ack, err = publisher.Request(waiting, u)
	switch {
	case errors.Is(err, events.ErrNoAck):
		if ctx.Err() != nil {
			return result, err
		}
		if !client.Conn.IsConnected() { // whether there is an outcome is not known
			return result, fmt.Errorf("%w: the connection to the broker is lost; the update is stored: %v", events.ErrUnavailable, err) //nolint:errorlint // it is no matter of the ack
		}
		if result.Why = client.Why(ctx, u.Channel, u.Key, u.Version); result.Why != nil {
			err = fmt.Errorf("%w: %s", err, whyText(result.Why))
		}
		return result, err
	case err != nil:
		return nil, err
	}
	result.Ack = &ack
	return result, nil
}

// verdict returns an error if the delivery ended without success. A superseded
// version is none: the target holds a newer one, or will.
func (p *pushed) verdict() error {
	if p.Ack.Outcome == events.Delivered || p.Ack.Outcome == events.Superseded {
		return nil
	}
	return fmt.Errorf("%w: channel %s, key %s, version %s ended as %s%s", errUndelivered,
		p.Channel, p.Key, p.Version, p.Ack.Outcome, reason(p.Ack.Class, p.Ack.Code, p.Ack.Message))
}

// reason returns why something failed, with a colon before it; "" for nothing.
func reason(parts ...string) string {
	var b strings.Builder
	for i, part := range parts {
		if i+1 < len(parts) && strings.HasPrefix(parts[i+1], part+": ") {
			continue // the message says it, too
		}
		if part != "" && (i == 0 || part != parts[i-1]) {
			b.WriteString(": " + part)
		}
	}
	return b.String()
}

func (p *pushed) write(sh *Shell) error {
	if sh.JSON {
		return sh.WriteJSON(p)
	}
	what := "stored"
	if p.Duplicate {
		what = "was stored before"
	}
	text := fmt.Sprintf("%s: %s, key %s, version %s (sequence %d)\n", what, routeOf(p.Receipt), clean(p.Key), p.Version, p.Sequence)
	if p.AckSubject != "" {
		text += "ack subject: " + p.AckSubject + "\n"
	}
	if p.Ack != nil {
		text += ackText(*p.Ack)
	}
	if p.Outcome != "" {
		text += topicText(p.Outcome, p.Channels)
	}
	_, err := io.WriteString(sh.Out, text)
	return err
}

// ackText returns an ack for people, in one line or, with the target's answer, two.
func ackText(a events.Ack) string {
	text := fmt.Sprintf("ack: %s", a.Outcome)
	if !a.By.IsZero() {
		text += " by version " + a.By.String()
	}
	if a.Attempts > 1 {
		text += fmt.Sprintf(" after %d attempts", a.Attempts)
	}
	text = clean(text+reason(a.Class, a.Code, a.Message)) + "\n"
	if a.Response != "" {
		text += "the target answered: " + clean(a.Response) + "\n"
	}
	return text
}
