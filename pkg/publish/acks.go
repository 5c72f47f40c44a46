package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// serviceAckBatch is how many acks a reader has in hand at most. One that takes
	// longer than serviceAckWait for so many sees some again, and so long it takes
	// until what a killed reader had in hand comes again.
	serviceAckBatch = 16
	serviceAckWait  = 30 * time.Second
	// serviceIdle is after how long without a reader the broker forgets how far a
	// service has read. It is far above how long acks are kept.
	serviceIdle = 7 * 24 * time.Hour
	// serviceRetry is the pause after an error that will pass.
	serviceRetry = time.Second
)

// ServiceAcks returns the acks that were sent to a named service (see
// events.Names.ServiceAck), oldest first, and waits for more until ctx ends. An ack
// counts as handled when the loop asks for the next one: the one in hand when the
// loop is left comes again, with those that came in one message with it, and so
// does what a killed process had in hand, perhaps after newer ones. A service that
// starts again goes on where it was, within the 24 hours that acks are kept.
// Several readers of one service share its acks.
//
// An ack that cannot be read comes as an error, and the loop goes on. Any other
// error is the last thing that comes; the end of ctx is none.
func ServiceAcks(ctx context.Context, js jetstream.JetStream, names events.Names, service string) iter.Seq2[events.Ack, error] {
	return func(yield func(events.Ack, error) bool) {
		left := false
		err := readServiceAcks(ctx, js, names, service, func(a events.Ack, err error) bool {
			left = !yield(a, err)
			return !left
		})
		if err != nil && ctx.Err() == nil && !left {
			yield(events.Ack{}, fmt.Errorf("acks of service %.80s: %w", service, wire.MarkUnavailable(err)))
		}
	}
}

// readServiceAcks returns nil when the loop was left.
func readServiceAcks(ctx context.Context, js jetstream.JetStream, names events.Names, service string, yield func(events.Ack, error) bool) error {
	consumer, err := serviceConsumer(ctx, js, names, service)
	if err != nil {
		return err
	}
	it, err := consumer.Messages(jetstream.PullMaxMessages(serviceAckBatch))
	if err != nil {
		return err
	}
	var inHand jetstream.Msg
	defer func() { giveBack(it, inHand) }()
	for {
		msg, err := wire.NextMessage(ctx, it)
		if ctx.Err() != nil {
			inHand = msg
			return ctx.Err()
		}
		if passing(err) {
			if !sleep.For(ctx, serviceRetry) {
				return ctx.Err()
			}
			continue
		}
		if err != nil {
			return err
		}
		for ack, err := range DecodeAcks(msg.Data()) {
			if !yield(ack, err) {
				inHand = msg
				return nil
			}
		}
		if err := msg.Ack(); err != nil && !wire.IsUnavailable(err) { // an ack that is lost comes again
			return err
		}
	}
}

// giveBack ends the reading and lets the ack in hand (nil: none) and those that
// were not looked at come again at once. It waits for the end first: the broker
// would send what is given back to this reader's open request, where it would be
// stuck for serviceAckWait. The broker does not keep their order.
func giveBack(it jetstream.MessagesContext, inHand jetstream.Msg) {
	var back []jetstream.Msg
	if inHand != nil {
		back = append(back, inHand)
	}
	it.Drain()
	for {
		msg, err := it.Next(jetstream.NextMaxWait(time.Second))
		if err != nil { // the iterator is empty and closed
			break
		}
		back = append(back, msg)
	}
	for _, msg := range back {
		_ = msg.Nak() // else it comes after serviceAckWait
	}
}

// passing reports whether a reader only has to wait: the broker is away, and the
// client connects again by itself.
func passing(err error) bool {
	return errors.Is(err, jetstream.ErrNoHeartbeat) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrServerShutdown)
}

// serviceConsumer returns the durable consumer of a service. It is only made if
// it is not there: a publisher may be allowed to read it but not to make it.
func serviceConsumer(ctx context.Context, js jetstream.JetStream, names events.Names, service string) (jetstream.Consumer, error) {
	filter, err := names.ServiceAcks(service)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, wire.DefaultTimeout)
	defer cancel()
	name := "svc-" + service
	c, err := js.Consumer(ctx, wire.AckStream(names), name)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("%w: stream %s is missing", events.ErrNotProvisioned, wire.AckStream(names))
	case !errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, err
	}
	cfg := serviceReader(name, service, filter)
	cfg.InactiveThreshold = serviceIdle
	return js.CreateOrUpdateConsumer(ctx, wire.AckStream(names), cfg)
}

func serviceReader(name, service, filter string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: name, Description: "extsync: acks for service " + service, FilterSubject: filter,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: serviceAckWait, MaxDeliver: -1,
	}
}

// AddService makes what a service reads its acks with, for good: for publishers that may
// not make it themselves. If it is there, it is brought up to date and keeps its place.
func AddService(ctx context.Context, js jetstream.JetStream, names events.Names, service string) error {
	filter, err := names.ServiceAcks(service)
	if err != nil {
		return err
	}
	_, err = js.CreateOrUpdateConsumer(ctx, wire.AckStream(names), serviceReader("svc-"+service, service, filter))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: stream %s is missing", events.ErrNotProvisioned, wire.AckStream(names))
	}
	if err != nil {
		return fmt.Errorf("service %.80s: %w", service, wire.MarkUnavailable(err))
	}
	return nil
}

// DecodeAcks reads a message of acks, one on each line. Each line that cannot be
// read comes as an error in its place.
func DecodeAcks(data []byte) iter.Seq2[events.Ack, error] {
	return func(yield func(events.Ack, error) bool) {
		for line := range bytes.SplitSeq(bytes.TrimSuffix(data, []byte{'\n'}), []byte{'\n'}) {
			if !yield(DecodeAck(line)) {
				return
			}
		}
	}
}

// DecodeAck reads an ack from the wire.
func DecodeAck(data []byte) (events.Ack, error) {
	var a events.Ack
	if err := json.Unmarshal(data, &a); err != nil {
		return events.Ack{}, fmt.Errorf("ack: %w", err)
	}
	if err := wire.CheckFormat(a.Format); err != nil {
		return events.Ack{}, fmt.Errorf("ack: %w", err)
	}
	return a, nil
}
