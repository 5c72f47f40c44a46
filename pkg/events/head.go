package events

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// head is the newest version of a key that the broker knows, and the sequence
// that a publish of the next one must expect.
type head struct {
	tag versioning.Tag
	seq uint64 // in the channel's stream; 0 if the stream holds nothing of the key
}

// readHead returns the head of a key: the last message on its subject, else what
// the ledger says was settled last. The stream comes first: read the other way
// round, a version could be settled between the two reads and be seen in
// neither. leader asks the stream's leader instead of any replica.
//
// What cannot be read, or has a version of another kind than next, counts as no
// newer than the ledger and may be overwritten: it would block its key for ever.
func (p *Publisher) readHead(ctx context.Context, channel, enc string, next versioning.Version, leader bool) (head, error) {
	var h, unusable head
	msg, err := p.lastMessage(ctx, channel, enc, leader)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
	case err != nil:
		return head{}, err
	default:
		h.seq = msg.Sequence
		u, err := Decode(p.names, msg.Subject, msg.Header, msg.Data)
		if err == nil {
			if _, err := u.Version.Compare(next); err == nil {
				h.tag = u.Tag()
				return h, nil
			}
			unusable = head{tag: u.Tag(), seq: h.seq}
		}
	}
	rec, _, err := p.ledger.GetEncoded(ctx, channel, enc)
	if err != nil && !errors.Is(err, ErrNoRecord) {
		return head{}, err
	}
	if rec.Settled.IsZero() && unusable.seq > 0 { // nobody says that the other kind is wrong
		return unusable, nil
	}
	h.tag = rec.Settled
	return h, nil
}

func (p *Publisher) lastMessage(ctx context.Context, channel, enc string, leader bool) (*jetstream.RawStreamMsg, error) {
	subject := p.names.StoredUpdate(channel, enc)
	if leader {
		return ReadFromLeader(ctx, p.js, p.names.UpdateStream(channel), MessageQuery{LastOn: subject})
	}
	stream, err := p.stream(ctx, channel)
	if err != nil {
		return nil, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, nats.ErrNoResponders) { // the stream was deleted after we bound it
		p.streams.Delete(channel)
	}
	return msg, err
}

// stream returns the handle of a channel's stream, bound once.
func (p *Publisher) stream(ctx context.Context, channel string) (jetstream.Stream, error) {
	if s, ok := p.streams.Load(channel); ok {
		return s.(jetstream.Stream), nil //nolint:forcetypeassert // only streams are stored
	}
	s, err := p.js.Stream(ctx, p.names.UpdateStream(channel))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: %s; apply it first, or check the name and the subject prefix", ErrUnknownChannel, channel)
	}
	if err != nil {
		return nil, err
	}
	p.streams.Store(channel, s)
	return s, nil
}
