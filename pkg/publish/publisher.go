package publish

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

const (
	// headCacheSize is how many keys a Publisher remembers the head of at most, about
	// 200 bytes each.
	headCacheSize = 20_000
	// publishTries bounds how often a publish meets a head that somebody else
	// has just changed.
	publishTries = 8
	// repeatWait is how long a publish waits first, and repeatMost at most, before it
	// repeats what the broker could not decide.
	repeatWait = 5 * time.Millisecond
	repeatMost = 200 * time.Millisecond
	// headerReserve is kept free of the server's max_payload for headers that
	// the server or the client adds.
	headerReserve = 512
	lockStripes   = 256
)

// Publisher publishes updates under the version guard and finds out what became
// of them. It is safe for concurrent use; one per process is enough.
type Publisher struct {
	js      jetstream.JetStream
	names   events.Names
	ledger  *wire.Ledger
	heads   *heads
	at      *installation
	streams sync.Map // events.Route to jetstream.Stream
	rooms   sync.Map // events.Route to *room
	// fresh says by route whether the last key that had to be read was not in
	// its stream, as a bool.
	fresh sync.Map
	// locks keep one publish in flight per key, so that two goroutines of one
	// process do not fight over a sequence. Keys share stripes.
	locks [lockStripes]sync.Mutex
	seed  maphash.Seed
}

// New returns a publisher for a provisioned broker, else
// ErrNotProvisioned.
func New(ctx context.Context, js jetstream.JetStream, names events.Names) (*Publisher, error) {
	ctx, cancel := wire.WithDefaultTimeout(ctx)
	defer cancel()
	ledger, err := wire.OpenLedger(ctx, js, names)
	if err != nil {
		return nil, err
	}
	h := newHeads(headCacheSize)
	at, err := openInstallation(ctx, js, names, h)
	if err != nil {
		return nil, err
	}
	return &Publisher{js: js, names: names, ledger: ledger, heads: h, at: at, seed: maphash.MakeSeed()}, nil
}

// Publish stores an update if the version guard allows (see versioning.Guard).
// The receipt means that the broker has it. The errors: ErrInvalidUpdate,
// ErrTooLarge, ErrUnknownChannel, ErrFull, ErrBrokerFull, ErrBusy, a *HeadError that
// wraps ErrStale or ErrConflict, ErrUnavailable, after which the same update may
// and should be published again, or ErrIncarnation, after which this Publisher is of
// no use any more: make another one. A context without deadline gets 5 s.
func (p *Publisher) Publish(ctx context.Context, u events.Update) (events.Receipt, error) {
	o, err := p.prepare(u)
	if err != nil {
		return events.Receipt{}, err
	}
	return p.publish(ctx, &o)
}

// prepare encodes an update and checks its size.
func (p *Publisher) prepare(u events.Update) (wire.Outgoing, error) {
	o, err := wire.Prepare(p.names, u)
	if err != nil {
		return wire.Outgoing{}, err
	}
	if limit := p.js.Conn().MaxPayload() - headerReserve; int64(o.Size) > limit {
		return wire.Outgoing{}, fmt.Errorf("%w: %d bytes with headers, the broker takes %d (max_payload)", events.ErrTooLarge, o.Size, limit)
	}
	return o, nil
}

// receipt returns the receipt of an update that is stored under a sequence.
func receipt(o *wire.Outgoing, seq uint64, duplicate bool) events.Receipt {
	return events.Receipt{Channel: o.Update.Channel, Topic: o.Update.Topic, Key: o.Update.Key, Version: o.Update.Version, ID: o.Update.ID, Sequence: seq, Duplicate: duplicate}
}

func (p *Publisher) publish(ctx context.Context, o *wire.Outgoing) (events.Receipt, error) {
	ctx, cancel := wire.WithDefaultTimeout(ctx)
	defer cancel()
	if err := p.at.check(ctx); err != nil {
		return events.Receipt{}, err
	}
	lock := &p.locks[maphash.String(p.seed, o.Path)%lockStripes]
	lock.Lock()
	defer lock.Unlock()

	receipt, err := p.store(ctx, o)
	if err != nil {
		return events.Receipt{}, wire.MarkUnavailable(err)
	}
	return receipt, nil
}

// store runs the guard against the head and stores with the head's sequence
// expected, reading the head again as long as somebody else is faster.
func (p *Publisher) store(ctx context.Context, o *wire.Outgoing) (events.Receipt, error) {
	h, source := p.remembered(o)
	var known *jetstream.PubAck
	for tries, wait := 0, repeatWait; tries < publishTries; tries++ {
		if source == fromStream || source == fromLeader {
			var err error
			if h, err = p.readHead(ctx, o, source == fromLeader); err != nil {
				return events.Receipt{}, err
			}
		}
		if source == fromLedger {
			var err error
			if h, err = p.readNewest(ctx, o); err != nil {
				return events.Receipt{}, err
			}
		}
		verdict, err := versioning.Guard(h.tag, o.Tag, o.Update.Base)
		if verdict != versioning.Newer && (source == fromMemory || source == fromLedger) {
			source = fromStream // what we remember may be outdated, and the ledger is not the head
			continue
		}
		if verdict == versioning.Conflict && source == fromStream {
			source = fromLeader // a replica may lag behind the base, or tell a place that is not the message's
			continue
		}
		if err != nil {
			return events.Receipt{}, fmt.Errorf("%w: %s, key %s: %w", events.ErrInvalidUpdate, o.Route, o.Update.Key, err)
		}
		switch verdict {
		case versioning.Stale:
			return events.Receipt{}, &events.HeadError{Reason: events.ErrStale, Channel: o.Update.Channel, Topic: o.Update.Topic, Key: o.Update.Key, Refused: o.Tag, Head: h.tag}
		case versioning.Conflict:
			return events.Receipt{}, &events.HeadError{Reason: events.ErrConflict, Channel: o.Update.Channel, Topic: o.Update.Topic, Key: o.Update.Key, Refused: o.Tag, Head: h.tag, Base: o.Update.Base}
		case versioning.Duplicate:
			p.heads.set(o.Path, h)
			if !h.own {
				return receipt(o, 0, true), nil // another message has the sequence
			}
			return receipt(o, h.seq, true), nil
		case versioning.Newer, versioning.Refused:
			if h.seq == 0 {
				if err := p.checkRoom(ctx, o); err != nil {
					return events.Receipt{}, err
				}
			}
			if known != nil {
				reset, err := p.resetAfter(ctx, o, known.Sequence)
				if err != nil {
					return events.Receipt{}, err
				}
				if reset.IsZero() { // settled and removed, and the ledger does not show it yet
					return receipt(o, known.Sequence, true), nil
				}
				// The key was reset since: it is another update, of the same content.
				known = nil
				o.Msg.Header.Set(nats.MsgIdHdr, o.Msg.Header.Get(nats.MsgIdHdr)+"/"+strconv.FormatInt(reset.UnixMilli(), 36))
			}
		}
		ack, err := p.js.PublishMsg(ctx, o.Msg, jetstream.WithExpectLastSequencePerSubject(h.seq))
		switch {
		case err == nil && !ack.Duplicate:
			p.heads.set(o.Path, head{tag: o.Tag, seq: ack.Sequence, own: true})
			return receipt(o, ack.Sequence, false), nil
		case err == nil:
			// The broker knows this very content by its id. Is it still the head?
			known = ack
			p.heads.forget(o.Path)
			source = fromLeader
		case wire.IsWrongSequence(err):
			p.heads.forget(o.Path)
			source = fromLeader
		case wire.MeaningOf(err) == wire.Repeat: // somebody else publishes the key at this moment, and it is not decided how that ends
			p.heads.forget(o.Path)
			source = fromLeader
			if !sleep.For(ctx, wait/2+rand.N(wait)) { // two that wait must not meet again
				return events.Receipt{}, fmt.Errorf("%w: %w", events.ErrUnavailable, err)
			}
			wait = min(2*wait, repeatMost)
			tries-- // it says nothing about the head
		default:
			p.heads.forget(o.Path)
			return events.Receipt{}, p.explain(ctx, o.Route, err)
		}
	}
	return events.Receipt{}, fmt.Errorf("%w: %s, key %s: gave up after %d tries; publish again", events.ErrBusy, o.Route, o.Update.Key, publishTries)
}

// resetAfter returns when a key was reset after the message at a place in its stream was
// stored; zero if it was not. Of a topic's key the stream holds nothing else then.
func (p *Publisher) resetAfter(ctx context.Context, o *wire.Outgoing, seq uint64) (time.Time, error) {
	if o.Update.Topic != "" {
		msg, err := p.lastMessage(ctx, o.Route, o.EncodedKey, true)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && !wire.IsReset(msg.Header) {
			return time.Time{}, nil
		}
		if err != nil {
			return time.Time{}, err
		}
		return msg.Time, nil
	}
	rec, err := p.ledger.Get(ctx, o.Update.Channel, o.Update.Key)
	if err != nil && !errors.Is(err, events.ErrNoRecord) {
		return time.Time{}, err
	}
	if rec.Void == nil || seq > rec.Void.Updates.Sequence {
		return time.Time{}, nil
	}
	return rec.Void.At, nil
}

// explain turns the broker's refusal into one of this package's errors.
func (p *Publisher) explain(ctx context.Context, r events.Route, err error) error {
	switch wire.MeaningOf(err) {
	case wire.Full:
		return fmt.Errorf("%w: %s: %w", events.ErrFull, r, err)
	case wire.BrokerFull:
		return fmt.Errorf("%w: %w", events.ErrBrokerFull, err)
	case wire.TooLarge:
		return fmt.Errorf("%w: %w", events.ErrTooLarge, err)
	}
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", events.ErrTooLarge, err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		p.streams.Delete(r)
		s, serr := p.stream(ctx, r)
		if errors.Is(serr, events.ErrUnknownChannel) || errors.Is(serr, events.ErrUnknownTopic) {
			return serr
		}
		if since := deletedSince(s); serr == nil && since != "" {
			return fmt.Errorf("%w: %s, since %s; restore it, or publish elsewhere", events.ErrChannelDeleted, r.Name(), since)
		}
		if topic := topicOf(s); serr == nil && topic != "" {
			return fmt.Errorf("%w: channel %s reads topic %s: publish to the topic", events.ErrReadsTopic, r.Name(), topic)
		}
	}
	return err
}

// Outcome returns what became of a version of a key, from the ledger: it works
// after a restart, and for updates that somebody else published. It returns
// ErrNoRecord while there is no outcome. digest may be zero when only the
// version is known.
func (p *Publisher) Outcome(ctx context.Context, channel, key string, tag versioning.Tag) (events.Ack, error) {
	ctx, cancel := wire.WithDefaultTimeout(ctx)
	defer cancel()
	rec, err := p.ledger.Get(ctx, channel, key)
	if err != nil {
		return events.Ack{}, err
	}
	if s, ok := rec.OutcomeOf(tag); ok {
		return wire.NewAck(channel, rec.Key, s), nil
	}
	return events.Ack{}, fmt.Errorf("%w with an outcome for version %s: it is still %s", events.ErrNoRecord, tag.Version, rec.State)
}

// deletedSince returns when the channel of a stream was deleted, "" if it was
// not.
func deletedSince(s jetstream.Stream) string {
	if s == nil {
		return ""
	}
	return s.CachedInfo().Config.Metadata[wire.MetadataDeleted]
}

// topicOf returns the topic that the channel of a stream reads; "" if it reads none.
func topicOf(s jetstream.Stream) string {
	if s == nil {
		return ""
	}
	return s.CachedInfo().Config.Metadata[wire.MetadataTopic]
}
