package events

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A Receipt says that the broker has stored an update.
type Receipt struct {
	Channel string             `json:"channel"`
	Key     string             `json:"key"`
	Version versioning.Version `json:"version"`
	ID      string             `json:"id"`
	// Sequence is the update's in the channel's stream; 0 for a duplicate that
	// was already settled and removed.
	Sequence uint64 `json:"sequence,omitempty"`
	// Duplicate says that this very content of this very version was there
	// before. Its ack goes to whoever published it first; see Outcome.
	Duplicate bool `json:"duplicate,omitempty"`
}

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
	// defaultTimeout bounds a call whose context has no deadline.
	defaultTimeout = 5 * time.Second
	// headerReserve is kept free of the server's max_payload for headers that
	// the server or the client adds.
	headerReserve = 512
	lockStripes   = 256
)

// Publisher publishes updates under the version guard and finds out what became
// of them. It is safe for concurrent use; one per process is enough.
type Publisher struct {
	js      jetstream.JetStream
	names   Names
	ledger  *Ledger
	heads   *heads
	at      *installation
	streams sync.Map // channel name to jetstream.Stream
	rooms   sync.Map // channel name to *room
	// fresh says by channel whether the last key that had to be read was not in
	// its stream, as a bool.
	fresh sync.Map
	// locks keep one publish in flight per key, so that two goroutines of one
	// process do not fight over a sequence. Keys share stripes.
	locks [lockStripes]sync.Mutex
}

// NewPublisher returns a publisher for a provisioned broker, else
// ErrNotProvisioned.
func NewPublisher(ctx context.Context, js jetstream.JetStream, names Names) (*Publisher, error) {
	ctx, cancel := withDefaultTimeout(ctx)
	defer cancel()
	ledger, err := OpenLedger(ctx, js, names)
	if err != nil {
		return nil, err
	}
	h := newHeads(headCacheSize)
	at, err := openInstallation(ctx, js, names, h)
	if err != nil {
		return nil, err
	}
	return &Publisher{js: js, names: names, ledger: ledger, heads: h, at: at}, nil
}

// Ledger returns the ledger that the publisher reads.
func (p *Publisher) Ledger() *Ledger { return p.ledger }

func withDefaultTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, defaultTimeout)
}

// Publish stores an update if the version guard allows (see versioning.Guard).
// The receipt means that the broker has it. The errors: ErrInvalidUpdate,
// ErrTooLarge, ErrUnknownChannel, ErrFull, ErrBrokerFull, ErrBusy, a *HeadError that
// wraps ErrStale or ErrConflict, ErrUnavailable, after which the same update may
// and should be published again, or ErrIncarnation, after which this Publisher is of
// no use any more: make another one. A context without deadline gets 5 s.
func (p *Publisher) Publish(ctx context.Context, u Update) (Receipt, error) {
	o, err := p.prepare(u)
	if err != nil {
		return Receipt{}, err
	}
	return p.publish(ctx, &o)
}

// prepare encodes an update and checks its size.
func (p *Publisher) prepare(u Update) (outgoing, error) {
	o, err := encode(p.names, u)
	if err != nil {
		return outgoing{}, err
	}
	if limit := p.js.Conn().MaxPayload() - headerReserve; int64(o.size) > limit {
		return outgoing{}, fmt.Errorf("%w: %d bytes with headers, the broker takes %d (max_payload)", ErrTooLarge, o.size, limit)
	}
	return o, nil
}

// receipt returns the receipt of an update that is stored under a sequence.
func (o *outgoing) receipt(seq uint64, duplicate bool) Receipt {
	return Receipt{Channel: o.u.Channel, Key: o.u.Key, Version: o.u.Version, ID: o.u.ID, Sequence: seq, Duplicate: duplicate}
}

func (p *Publisher) publish(ctx context.Context, o *outgoing) (Receipt, error) {
	ctx, cancel := withDefaultTimeout(ctx)
	defer cancel()
	if err := p.at.check(ctx); err != nil {
		return Receipt{}, err
	}
	lock := &p.locks[hash32(o.path)%lockStripes]
	lock.Lock()
	defer lock.Unlock()

	receipt, err := p.store(ctx, o)
	if err != nil {
		return Receipt{}, unavailable(err)
	}
	return receipt, nil
}

// store runs the guard against the head and stores with the head's sequence
// expected, reading the head again as long as somebody else is faster.
func (p *Publisher) store(ctx context.Context, o *outgoing) (Receipt, error) {
	h, source := p.remembered(o)
	var known *jetstream.PubAck
	for tries, wait := 0, repeatWait; tries < publishTries; tries++ {
		if source == fromStream || source == fromLeader {
			var err error
			if h, err = p.readHead(ctx, o, source == fromLeader); err != nil {
				return Receipt{}, err
			}
		}
		if source == fromLedger {
			var err error
			if h, err = p.readNewest(ctx, o); err != nil {
				return Receipt{}, err
			}
		}
		verdict, err := versioning.Guard(h.tag, o.tag, o.u.Base)
		if verdict != versioning.Newer && (source == fromMemory || source == fromLedger) {
			source = fromStream // what we remember may be outdated, and the ledger is not the head
			continue
		}
		if verdict == versioning.Conflict && source == fromStream {
			source = fromLeader // a replica may lag behind the base, or tell a place that is not the message's
			continue
		}
		if err != nil {
			return Receipt{}, fmt.Errorf("%w: channel %s, key %s: %w", ErrInvalidUpdate, o.u.Channel, o.u.Key, err)
		}
		switch verdict {
		case versioning.Stale:
			return Receipt{}, &HeadError{Reason: ErrStale, Channel: o.u.Channel, Key: o.u.Key, Refused: o.tag, Head: h.tag}
		case versioning.Conflict:
			return Receipt{}, &HeadError{Reason: ErrConflict, Channel: o.u.Channel, Key: o.u.Key, Refused: o.tag, Head: h.tag, Base: o.u.Base}
		case versioning.Duplicate:
			p.heads.set(o.path, h)
			if !h.own {
				return o.receipt(0, true), nil // another message has the sequence
			}
			return o.receipt(h.seq, true), nil
		case versioning.Newer, versioning.Refused:
			if h.seq == 0 {
				if err := p.checkRoom(ctx, o.u.Channel, o.size); err != nil {
					return Receipt{}, err
				}
			}
			if known != nil {
				void, err := p.voided(ctx, o, known.Sequence)
				if err != nil {
					return Receipt{}, err
				}
				if void == nil { // settled and removed, and the ledger does not show it yet
					return o.receipt(known.Sequence, true), nil
				}
				// The key was reset since: it is another update, of the same content.
				known = nil
				o.msg.Header.Set(nats.MsgIdHdr, o.msg.Header.Get(nats.MsgIdHdr)+"/"+strconv.FormatInt(void.At.UnixMilli(), 36))
			}
		}
		ack, err := p.js.PublishMsg(ctx, o.msg, jetstream.WithExpectLastSequencePerSubject(h.seq))
		switch {
		case err == nil && !ack.Duplicate:
			p.heads.set(o.path, head{tag: o.tag, seq: ack.Sequence, own: true})
			return o.receipt(ack.Sequence, false), nil
		case err == nil:
			// The broker knows this very content by its id. Is it still the head?
			known = ack
			p.heads.forget(o.path)
			source = fromLeader
		case IsWrongSequence(err):
			p.heads.forget(o.path)
			source = fromLeader
		case MeaningOf(err) == Repeat: // somebody else publishes the key at this moment, and it is not decided how that ends
			p.heads.forget(o.path)
			source = fromLeader
			if !sleep.For(ctx, wait/2+rand.N(wait)) { // two that wait must not meet again
				return Receipt{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
			wait = min(2*wait, repeatMost)
			tries-- // it says nothing about the head
		default:
			p.heads.forget(o.path)
			return Receipt{}, p.explain(ctx, o.u.Channel, err)
		}
	}
	return Receipt{}, fmt.Errorf("%w: channel %s, key %s: gave up after %d tries; publish again", ErrBusy, o.u.Channel, o.u.Key, publishTries)
}

// voided returns what is void of a key if that is the message at a place in the
// channel's stream; nil if the key was not reset since.
func (p *Publisher) voided(ctx context.Context, o *outgoing, seq uint64) (*Void, error) {
	rec, err := p.ledger.Get(ctx, o.u.Channel, o.u.Key)
	if errors.Is(err, ErrNoRecord) {
		return nil, nil //nolint:nilnil // it was not
	}
	if err != nil {
		return nil, err
	}
	if rec.Void == nil || seq > rec.Void.Updates.Sequence {
		return nil, nil //nolint:nilnil // it was not
	}
	return rec.Void, nil
}

// explain turns the broker's refusal into one of this package's errors.
func (p *Publisher) explain(ctx context.Context, channel string, err error) error {
	switch MeaningOf(err) {
	case Full:
		return fmt.Errorf("%w: %s: %w", ErrFull, channel, err)
	case BrokerFull:
		return fmt.Errorf("%w: %w", ErrBrokerFull, err)
	case TooLarge:
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		p.streams.Delete(channel)
		s, serr := p.stream(ctx, channel)
		if errors.Is(serr, ErrUnknownChannel) {
			return serr
		}
		if since := deletedSince(s); serr == nil && since != "" {
			return fmt.Errorf("%w: %s, since %s; restore it, or publish elsewhere", ErrChannelDeleted, channel, since)
		}
	}
	return err
}

// Outcome returns what became of a version of a key, from the ledger: it works
// after a restart, and for updates that somebody else published. It returns
// ErrNoRecord while there is no outcome. digest may be zero when only the
// version is known.
func (p *Publisher) Outcome(ctx context.Context, channel, key string, tag versioning.Tag) (Ack, error) {
	ctx, cancel := withDefaultTimeout(ctx)
	defer cancel()
	rec, err := p.ledger.Get(ctx, channel, key)
	if err != nil {
		return Ack{}, err
	}
	if s, ok := rec.OutcomeOf(tag); ok {
		return NewAck(channel, rec.Key, s), nil
	}
	return Ack{}, fmt.Errorf("%w with an outcome for version %s: it is still %s", ErrNoRecord, tag.Version, rec.State)
}

// deletedSince returns when the channel of a stream was deleted, "" if it was
// not.
func deletedSince(s jetstream.Stream) string {
	if s == nil {
		return ""
	}
	return s.CachedInfo().Config.Metadata[MetadataDeleted]
}
