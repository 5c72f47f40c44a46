package deadletters

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A Result says what came of a wish to send a letter's update again.
type Result struct {
	// Sequence is the replay's in the channel's stream, MessageID the id under
	// which it was published. Both are zero if nothing was published.
	Sequence  uint64 `json:"sequence,omitempty"`
	MessageID string `json:"message_id,omitempty"`
	// SupersededBy is the newer version because of which nothing was published.
	SupersededBy versioning.Version `json:"superseded_by,omitzero"`
}

// Published reports whether the update is on its way again.
func (r Result) Published() bool { return r.Sequence != 0 }

// String says it for people.
func (r Result) String() string {
	if r.Published() {
		return fmt.Sprintf("published again, sequence %d", r.Sequence)
	}
	return "superseded by version " + r.SupersededBy.String()
}

// replayTries bounds how often a replay meets a head that a publisher or a worker
// has just changed.
const replayTries = 8

// Replay publishes an open letter's update again, behind whatever there is of its
// key. It goes past the publisher's table, but the worker still compares it with
// what the target holds (guarantee 2): what was overtaken on the way ends as
// superseded. Nothing is published when that is already clear, or when the update
// would take the place of a newer one that waits in a latest channel.
//
// The letter stays until the replay has an outcome. Delivered or superseded makes
// it resolved, by the same record of the ledger that says so; given up again, the
// new letter takes its place. So whoever is killed in between, the update is
// either in the channel's stream, or in an open letter, or settled. Replaying
// twice is safe, and each replay is an attempt of its own.
//
// The errors: ErrNotFound, ErrMalformed, ErrPending, ErrResolved (but not for a
// letter that a newer version has resolved: that is a Result); a *events.HeadError
// when the head is the same version with other content; events.ErrUnknownChannel,
// events.ErrFull, events.ErrBrokerFull, events.ErrBusy, events.ErrTooLarge; or events.ErrUnavailable, after which the update
// may have been published.
func (s *Store) Replay(ctx context.Context, sequence uint64) (Result, error) {
	r := replayer{s: s}
	return r.replay(ctx, sequence)
}

// A replayer remembers what it has learned about channels.
type replayer struct {
	s       *Store
	replace sync.Map // of bool by channel: a new message takes the place of the head
}

func (r *replayer) replay(ctx context.Context, sequence uint64) (Result, error) {
	l, err := r.s.load(ctx, sequence)
	if err != nil {
		return Result{}, err
	}
	if l.Malformed != "" {
		return Result{}, fmt.Errorf("dead letter %d: %w: it cannot be sent again; let the platform publish the entity anew, then discard the letter (%s)",
			sequence, ErrMalformed, l.Malformed)
	}
	if err := r.s.judge(ctx, &l); err != nil {
		return Result{}, err
	}
	switch {
	case l.State == StatePending:
		return Result{}, fmt.Errorf("dead letter %d: %w; try again in a moment", sequence, ErrPending)
	case l.Ended:
		return Result{}, fmt.Errorf("dead letter %d: %w: it was discarded, or its key was reset or its channel removed since", sequence, ErrResolved)
	case l.State == StateResolved && older(l.Version, l.By):
		return Result{SupersededBy: l.By}, nil
	case l.State == StateResolved && l.By == l.Version:
		return Result{}, fmt.Errorf("dead letter %d: %w: version %s was settled since", sequence, ErrResolved, l.Version)
	case l.State == StateResolved:
		return Result{}, fmt.Errorf("dead letter %d: %w: a later letter holds the same update", sequence, ErrResolved)
	}
	res, err := r.publish(ctx, &l)
	if err != nil {
		return Result{}, fmt.Errorf("replay dead letter %d: %w", sequence, err)
	}
	return res, nil
}

// publish puts the update behind the key's head, reading the head again as long
// as somebody else is faster.
func (r *replayer) publish(ctx context.Context, l *letter) (Result, error) {
	replaces, err := r.replaces(ctx, l.Channel)
	if err != nil {
		return Result{}, err
	}
	msg, err := replayMessage(r.s.names, l)
	if err != nil {
		return Result{}, err
	}
	for range replayTries {
		head, err := r.head(ctx, l)
		if err != nil {
			return Result{}, err
		}
		if replaces {
			if by, err := overtaken(l, head.tag); err != nil || !by.IsZero() {
				return Result{SupersededBy: by}, err
			}
		}
		ack, err := r.s.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(head.seq))
		switch {
		case err == nil:
			return Result{Sequence: ack.Sequence, MessageID: msg.Header.Get(nats.MsgIdHdr)}, nil
		case events.MeaningOf(err) == events.BrokerFull:
			return Result{}, fmt.Errorf("%w: %w", events.ErrBrokerFull, err)
		case events.IsFull(err):
			return Result{}, fmt.Errorf("%w: %s: %w", events.ErrFull, l.Channel, err)
		case errors.Is(err, nats.ErrMaxPayload):
			return Result{}, fmt.Errorf("%w: there is no room for the id of a replay: %w", events.ErrTooLarge, err)
		case !events.IsWrongSequence(err):
			return Result{}, unavailable(err)
		}
	}
	return Result{}, fmt.Errorf("%w: channel %s, key %s: gave up after %d tries", events.ErrBusy, l.Channel, l.Key, replayTries)
}

// overtaken returns the version that a replay must not take the place of; zero if
// it may be published. There is no other copy of a head than the one in the
// stream: a version that was published to follow this one, or other content of
// the same version, would be lost.
func overtaken(l *letter, head versioning.Tag) (versioning.Version, error) {
	if head.IsZero() {
		return versioning.Version{}, nil
	}
	tag := l.Update.Tag()
	order, err := tag.Version.Compare(head.Version)
	switch {
	case err != nil:
		return versioning.Version{}, fmt.Errorf("channel %s, key %s: %w", l.Channel, l.Key, err)
	case order < 0:
		return head.Version, nil
	case order == 0 && tag.Digest != head.Digest:
		return versioning.Version{}, &events.HeadError{Reason: events.ErrConflict, Channel: l.Channel, Key: l.Key, Refused: tag, Head: head}
	default:
		return versioning.Version{}, nil
	}
}

type head struct {
	tag versioning.Tag
	seq uint64
}

// head reads the last message of the key from the leader of the channel's stream.
// What cannot be read there is nothing that could be lost.
func (r *replayer) head(ctx context.Context, l *letter) (head, error) {
	subject := r.s.names.StoredUpdate(l.Channel, l.EncodedKey)
	msg, err := events.ReadFromLeader(ctx, r.s.js, r.s.names.UpdateStream(l.Channel), events.MessageQuery{LastOn: subject})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return head{}, nil
	}
	if err != nil {
		return head{}, unavailable(err)
	}
	h := head{seq: msg.Sequence}
	if u, err := events.Decode(r.s.names, msg.Subject, msg.Header, msg.Data); err == nil {
		h.tag = u.Tag()
	}
	return h, nil
}

// replaces reports whether a channel's stream keeps only the last message of a
// key.
func (r *replayer) replaces(ctx context.Context, channel string) (bool, error) {
	if is, known := r.replace.Load(channel); known {
		return is == true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := r.s.js.Stream(ctx, r.s.names.UpdateStream(channel))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, fmt.Errorf("%w: %s", events.ErrUnknownChannel, channel)
	}
	if err != nil {
		return false, unavailable(err)
	}
	is := stream.CachedInfo().Config.MaxMsgsPerSubject == 1
	r.replace.Store(channel, is)
	return is, nil
}

// replayMessage returns the update's message as its publisher made it, under an
// id that no other replay has.
func replayMessage(names events.Names, l *letter) (*nats.Msg, error) {
	id, err := l.Update.MessageID()
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(names.Update(l.Channel, l.EncodedKey))
	msg.Data = l.Update.Payload
	for name, values := range l.Header {
		// Some headers speak to the broker or its clients, whoever has set them.
		if !strings.HasPrefix(strings.ToLower(name), "nats-") && name != "Status" {
			msg.Header[name] = values
		}
	}
	msg.Header.Set(nats.MsgIdHdr, events.ReplayID(id, nuid.Next()))
	return msg, nil
}
