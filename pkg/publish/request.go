package publish

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// Request publishes an update and waits for its ack until ctx ends. A newer
// version's outcome settles an older one as superseded. On ErrNoAck the receipt
// is valid: the update is on its way. Without ReplyTo the ack goes to an inbox
// of this call. The other errors are those of Publish.
func (p *Publisher) Request(ctx context.Context, u events.Update) (events.Receipt, events.Ack, error) {
	enc, err := events.EncodeKey(u.Key)
	if err != nil {
		return events.Receipt{}, events.Ack{}, fmt.Errorf("%w: key: %w", events.ErrInvalidUpdate, err)
	}
	if u.Topic != "" {
		return events.Receipt{}, events.Ack{}, fmt.Errorf("%w: the update goes to a topic, and each of its channels has an outcome of its own: RequestTopic waits for them", events.ErrInvalidUpdate)
	}
	if err := events.CheckChannel(u.Channel); err != nil {
		return events.Receipt{}, events.Ack{}, fmt.Errorf("%w: %w", events.ErrInvalidUpdate, err)
	}
	nc := p.js.Conn()
	// Messages that find no room are dropped by the client; one of these always
	// finds room, and the ledger is read again for each.
	news := make(chan *nats.Msg, 64)
	status, err := nc.ChanSubscribe(wire.LedgerSubject(p.names, u.Channel, enc), news)
	if err != nil {
		return events.Receipt{}, events.Ack{}, fmt.Errorf("listen for the outcome: %w", wire.MarkUnavailable(err))
	}
	defer func() { _ = status.Unsubscribe() }() // fails only with the connection
	if u.ReplyTo == "" {
		u.ReplyTo, u.ReplyLines = nc.NewInbox(), false
		inbox, err := nc.ChanSubscribe(u.ReplyTo, news)
		if err != nil {
			return events.Receipt{}, events.Ack{}, fmt.Errorf("listen for the ack: %w", wire.MarkUnavailable(err))
		}
		defer func() { _ = inbox.Unsubscribe() }()
	}
	receipt, err := p.Publish(ctx, u)
	if err != nil {
		return events.Receipt{}, events.Ack{}, err
	}
	ack, err := p.await(ctx, u, news)
	return receipt, ack, err
}

// RequestTopic publishes an update to a topic and waits until ctx ends for what becomes of
// it in some of the channels that read the topic; channels.Registry.Readers knows them. The
// acks are in the order of the channels; that of a channel without an outcome has none, and
// then the error is ErrNoAck: the receipt is valid, and the update is on its way. A newer
// version's outcome settles an older one as superseded. The other errors are those of
// Publish.
func (p *Publisher) RequestTopic(ctx context.Context, u events.Update, channels []string) (events.Receipt, []events.Ack, error) {
	enc, err := events.EncodeKey(u.Key)
	if err != nil {
		return events.Receipt{}, nil, fmt.Errorf("%w: key: %w", events.ErrInvalidUpdate, err)
	}
	nc := p.js.Conn()
	news := make([]chan *nats.Msg, len(channels))
	for i, channel := range channels {
		news[i] = make(chan *nats.Msg, 64)
		sub, err := nc.ChanSubscribe(wire.LedgerSubject(p.names, channel, enc), news[i])
		if err != nil {
			return events.Receipt{}, nil, fmt.Errorf("listen for the outcome: %w", wire.MarkUnavailable(err))
		}
		defer func() { _ = sub.Unsubscribe() }() // fails only with the connection
	}
	receipt, err := p.Publish(ctx, u)
	if err != nil {
		return events.Receipt{}, nil, err
	}
	acks, errs := make([]events.Ack, len(channels)), make([]error, len(channels))
	var waiting sync.WaitGroup
	for i, channel := range channels {
		waiting.Go(func() {
			theirs := u
			theirs.Channel = channel
			if acks[i], errs[i] = p.await(ctx, theirs, news[i]); errs[i] != nil {
				acks[i] = wire.NewAck(channel, u.Key, events.Settlement{Version: u.Version})
			}
			acks[i].Topic = u.Topic
		})
	}
	waiting.Wait()
	for _, err := range errs {
		if err != nil { // one says enough: the acks have the rest
			return receipt, acks, err
		}
	}
	return receipt, acks, nil
}

// lookAgain is how often the ledger is read while nothing comes: what is heard
// of a record is sent at most once.
const lookAgain = 5 * time.Second

// await reads the ledger, in case the outcome was there before we listened (a
// duplicate), then waits for what comes.
func (p *Publisher) await(ctx context.Context, u events.Update, news <-chan *nats.Msg) (events.Ack, error) {
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for again := true; ; {
		if again {
			rec, err := p.ledger.Get(ctx, u.Channel, u.Key)
			if ack, ok := p.outcomeOf(ctx, &u, &rec); err == nil && ok {
				return ack, nil
			}
			again = false
		}
		select {
		case <-look.C:
			again = true
		case <-ctx.Done():
			return events.Ack{}, fmt.Errorf("%w: channel %s, key %s, version %s: %w", events.ErrNoAck, u.Channel, u.Key, u.Version, ctx.Err())
		case msg, ok := <-news:
			if !ok {
				return events.Ack{}, fmt.Errorf("%w: the connection to the broker was closed", events.ErrNoAck)
			}
			if ack, ok := p.readNews(ctx, msg, &u); ok {
				return ack, nil
			}
		}
	}
}

// readNews takes a message from the inbox, or a record on its way into the
// ledger. What cannot be read, or is about something else, is no answer.
func (p *Publisher) readNews(ctx context.Context, msg *nats.Msg, u *events.Update) (events.Ack, bool) {
	if msg.Subject == u.ReplyTo {
		ack, err := DecodeAck(msg.Data)
		return ack, err == nil && ack.Version == u.Version && wire.Final(ack.Outcome)
	}
	rec, err := wire.DecodeRecord(msg.Data)
	if err != nil {
		return events.Ack{}, false
	}
	return p.outcomeOf(ctx, u, &rec)
}

// outcomeOf returns what a record tells of an update. A record lists eight outcomes, and of
// an older version says that it was superseded: where the ack is kept for a service, that
// tells what it was. It is stored before the record.
func (p *Publisher) outcomeOf(ctx context.Context, u *events.Update, rec *wire.Record) (events.Ack, bool) {
	tag := u.Tag()
	s, ok := rec.OutcomeOf(tag)
	if _, listed := rec.Find(tag); ok && !listed && wire.IsServiceAck(p.names, u.ReplyTo) {
		if ack, kept := p.keptAck(ctx, u); kept {
			return ack, true
		}
	}
	return wire.NewAck(u.Channel, rec.Key, s), ok
}

// keptAck returns the ack of an update that is kept for a service, if it is the last one on
// its subject.
func (p *Publisher) keptAck(ctx context.Context, u *events.Update) (events.Ack, bool) {
	msg, err := wire.ReadFromLeader(ctx, p.js, wire.AckStream(p.names), wire.MessageQuery{LastOn: u.ReplyTo})
	if err != nil {
		return events.Ack{}, false
	}
	for ack, err := range DecodeAcks(msg.Data) {
		if err == nil && ack.Channel == u.Channel && ack.Key == u.Key && ack.Version == u.Version && ack.Digest == u.Digest() {
			return ack, true
		}
	}
	return events.Ack{}, false
}
