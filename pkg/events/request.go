package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrNoAck says that an update was stored but its outcome did not come in time.
// It will still be delivered; Publisher.Outcome tells later.
var ErrNoAck = errors.New("no ack yet")

// Request publishes an update and waits for its ack until ctx ends. A newer
// version's outcome settles an older one as superseded. On ErrNoAck the receipt
// is valid: the update is on its way. Without ReplyTo the ack goes to an inbox
// of this call. The other errors are those of Publish.
func (p *Publisher) Request(ctx context.Context, u Update) (Receipt, Ack, error) {
	enc, err := EncodeKey(u.Key)
	if err != nil {
		return Receipt{}, Ack{}, fmt.Errorf("%w: key: %w", ErrInvalidUpdate, err)
	}
	if err := CheckChannel(u.Channel); err != nil {
		return Receipt{}, Ack{}, fmt.Errorf("%w: %w", ErrInvalidUpdate, err)
	}
	nc := p.js.Conn()
	// Messages that find no room are dropped by the client; one of these always
	// finds room, and the ledger is read again for each.
	news := make(chan *nats.Msg, 64)
	status, err := nc.ChanSubscribe(p.names.LedgerSubject(u.Channel, enc), news)
	if err != nil {
		return Receipt{}, Ack{}, fmt.Errorf("listen for the outcome: %w", unavailable(err))
	}
	defer func() { _ = status.Unsubscribe() }() // fails only with the connection
	if u.ReplyTo == "" {
		u.ReplyTo, u.ReplyLines = nc.NewInbox(), false
		inbox, err := nc.ChanSubscribe(u.ReplyTo, news)
		if err != nil {
			return Receipt{}, Ack{}, fmt.Errorf("listen for the ack: %w", unavailable(err))
		}
		defer func() { _ = inbox.Unsubscribe() }()
	}
	receipt, err := p.Publish(ctx, u)
	if err != nil {
		return Receipt{}, Ack{}, err
	}
	ack, err := p.await(ctx, u, news)
	return receipt, ack, err
}

// lookAgain is how often the ledger is read while nothing comes: what is heard
// of a record is sent at most once.
const lookAgain = 5 * time.Second

// await reads the ledger, in case the outcome was there before we listened (a
// duplicate), then waits for what comes.
func (p *Publisher) await(ctx context.Context, u Update, news <-chan *nats.Msg) (Ack, error) {
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
			return Ack{}, fmt.Errorf("%w: channel %s, key %s, version %s: %w", ErrNoAck, u.Channel, u.Key, u.Version, ctx.Err())
		case msg, ok := <-news:
			if !ok {
				return Ack{}, fmt.Errorf("%w: the connection to the broker was closed", ErrNoAck)
			}
			if ack, ok := p.readNews(ctx, msg, &u); ok {
				return ack, nil
			}
		}
	}
}

// readNews takes a message from the inbox, or a record on its way into the
// ledger. What cannot be read, or is about something else, is no answer.
func (p *Publisher) readNews(ctx context.Context, msg *nats.Msg, u *Update) (Ack, bool) {
	if msg.Subject == u.ReplyTo {
		ack, err := DecodeAck(msg.Data)
		return ack, err == nil && ack.Version == u.Version && ack.Outcome.Final()
	}
	rec, err := DecodeRecord(msg.Data)
	if err != nil {
		return Ack{}, false
	}
	return p.outcomeOf(ctx, u, &rec)
}

// outcomeOf returns what a record tells of an update. A record lists eight outcomes, and of
// an older version says that it was superseded: where the ack is kept for a service, that
// tells what it was. It is stored before the record.
func (p *Publisher) outcomeOf(ctx context.Context, u *Update, rec *Record) (Ack, bool) {
	tag := u.Tag()
	s, ok := rec.OutcomeOf(tag)
	if _, listed := rec.Find(tag); ok && !listed && p.names.IsServiceAck(u.ReplyTo) {
		if ack, kept := p.keptAck(ctx, u); kept {
			return ack, true
		}
	}
	return NewAck(u.Channel, rec.Key, s), ok
}

// keptAck returns the ack of an update that is kept for a service, if it is the last one on
// its subject.
func (p *Publisher) keptAck(ctx context.Context, u *Update) (Ack, bool) {
	msg, err := ReadFromLeader(ctx, p.js, p.names.AckStream(), MessageQuery{LastOn: u.ReplyTo})
	if err != nil {
		return Ack{}, false
	}
	for ack, err := range DecodeAcks(msg.Data) {
		if err == nil && ack.Channel == u.Channel && ack.Key == u.Key && ack.Version == u.Version && ack.Digest == u.Digest() {
			return ack, true
		}
	}
	return Ack{}, false
}
