package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// head is the newest version of a key that the broker knows, and the sequence
// that a publish of the next one must expect.
type head struct {
	tag versioning.Tag
	seq uint64 // of the key's last message in the channel's stream; 0 if it holds none
	own bool   // the version is that message's
}

// A headSource is where a publish takes the head of its key from.
type headSource uint8

const (
	// fromMemory: this publisher has published the key before. The sequence shows
	// whether somebody else did since.
	fromMemory headSource = iota
	// fromLedger takes the key for one that the stream does not hold: what the
	// ledger says was settled last is the head if the stream then agrees, by
	// taking an update that expects sequence 0.
	fromLedger
	// fromStream and fromLeader read the stream, from any replica or from the
	// leader, and the ledger if the stream holds nothing.
	fromStream
	fromLeader
)

// remembered returns the head that is remembered of a key, else where to read
// it. While the keys of a channel turn out not to be in its stream (an import, or
// a channel of mode every whose worker keeps up) the next one is taken for such a
// key, too, which saves a request. See ADR 21 for what that may not change: an
// update that names its base asks for more than the guard's order, and is read
// for in full.
func (p *Publisher) remembered(o *wire.Outgoing) (head, headSource) {
	if h, ok := p.heads.get(o.Path); ok {
		return h, fromMemory
	}
	if fresh, ok := p.fresh.Load(o.Route); ok && fresh.(bool) && o.Update.Base.IsZero() { //nolint:forcetypeassert // only bools are stored
		return head{}, fromLedger
	}
	return head{}, fromStream
}

// readHead returns the head of a key: the last message on its subject, else the
// newest version that the ledger knows of. The stream comes first: read the other
// way round, a version could leave it between the two reads and be seen in
// neither. leader asks the stream's leader instead of any replica.
//
// In a work queue the last message need not be the newest version, and the newest of
// all counts: a broker that was killed brings messages back that were settled, which the
// ledger knows; and newer ones may lie before what cannot be read.
//
// What cannot be read, or has a version of another kind than the next one's,
// counts as no newer than the ledger and may be overwritten: it would block its
// key for ever.
func (p *Publisher) readHead(ctx context.Context, o *wire.Outgoing, leader bool) (head, error) {
	msg, err := p.lastMessage(ctx, o.Route, o.EncodedKey, leader)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		p.fresh.Store(o.Route, true)
		return p.readNewest(ctx, o)
	}
	if err != nil {
		return head{}, err
	}
	p.fresh.Store(o.Route, false)
	stream, err := p.stream(ctx, o.Route)
	if err != nil {
		return head{}, err
	}
	queue := stream.CachedInfo().Config.Retention == jetstream.WorkQueuePolicy
	tag, usable := p.comparable(msg, o)
	if usable && !queue {
		return head{tag: tag, seq: msg.Sequence, own: true}, nil
	}
	h, err := p.readNewest(ctx, o)
	if err != nil {
		return head{}, err
	}
	h.seq = msg.Sequence
	if queue && !usable {
		if err := p.lookBefore(ctx, o, &h); err != nil {
			return head{}, err
		}
	}
	if usable && !wire.Older(tag.Version, h.tag.Version) || h.tag.IsZero() { // nobody says that another kind is wrong
		h.tag, h.own = tag, true
	}
	return h, nil
}

// comparable returns the version of a message, and whether it can be the head of the next
// one: zero and false if it cannot be read.
func (p *Publisher) comparable(msg *jetstream.RawStreamMsg, o *wire.Outgoing) (tag versioning.Tag, usable bool) {
	u, err := wire.Decode(p.names, msg.Subject, msg.Header, msg.Data)
	if err != nil {
		return versioning.Tag{}, false
	}
	_, err = u.Version.Compare(o.Update.Version)
	return u.Tag(), err == nil
}

// lookBefore gives a head the version of the last message before it that can be one, if
// that is newer.
func (p *Publisher) lookBefore(ctx context.Context, o *wire.Outgoing, h *head) error {
	subject := wire.StoredUpdate(p.names, o.Route, o.EncodedKey)
	for seq := h.seq; ; {
		msg, err := wire.LastUpTo(ctx, p.js, wire.UpdateStream(p.names, o.Route), subject, seq-1)
		if err != nil || msg == nil {
			return err
		}
		if tag, usable := p.comparable(msg, o); usable {
			if wire.Older(h.tag.Version, tag.Version) {
				h.tag = tag
			}
			return nil
		}
		seq = msg.Sequence
	}
}

// readNewest returns the newest version that the ledger knows of, as the head of a key
// that the stream does not hold. Of a topic there is none: its stream holds every key.
func (p *Publisher) readNewest(ctx context.Context, o *wire.Outgoing) (head, error) {
	if o.Update.Topic != "" {
		return head{}, nil
	}
	rec, _, err := p.ledger.GetEncoded(ctx, o.Update.Channel, o.EncodedKey)
	if err != nil && !errors.Is(err, events.ErrNoRecord) {
		return head{}, err
	}
	return head{tag: rec.Newest()}, nil
}

func (p *Publisher) lastMessage(ctx context.Context, r events.Route, enc string, leader bool) (*jetstream.RawStreamMsg, error) {
	subject := wire.StoredUpdate(p.names, r, enc)
	if leader {
		return wire.ReadFromLeader(ctx, p.js, wire.UpdateStream(p.names, r), wire.MessageQuery{LastOn: subject})
	}
	stream, err := p.stream(ctx, r)
	if err != nil {
		return nil, err
	}
	msg, err := wire.ReadLast(ctx, p.js, stream, subject)
	if errors.Is(err, nats.ErrNoResponders) { // the stream was deleted after we bound it
		p.streams.Delete(r)
	}
	return msg, err
}

// stream returns the handle of a route's stream, bound once.
func (p *Publisher) stream(ctx context.Context, r events.Route) (jetstream.Stream, error) {
	if s, ok := p.streams.Load(r); ok {
		return s.(jetstream.Stream), nil //nolint:forcetypeassert // only streams are stored
	}
	s, err := p.js.Stream(ctx, wire.UpdateStream(p.names, r))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		unknown := events.ErrUnknownChannel
		if r.Topic() != "" {
			unknown = events.ErrUnknownTopic
		}
		return nil, fmt.Errorf("%w: %s; apply it first, or check the name and the subject prefix", unknown, r.Name())
	}
	if err != nil {
		return nil, err
	}
	p.streams.Store(r, s)
	return s, nil
}
