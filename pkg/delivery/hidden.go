package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
)

const defaultHiddenCheck = time.Minute

// errHidden is what the publisher is told of an update that clients do not hand out.
var errHidden = fmt.Errorf("%w: an update without payload must not have a header %q: NATS clients do not hand it out", events.ErrInvalidUpdate, plain.HeaderStatus)

// TakeHidden settles an update that clients do not hand out, or has the topic hand it out.
func (t *tenure) TakeHidden(ctx context.Context, msg *jetstream.RawStreamMsg) (err error) {
	switch {
	case msg == nil:
	case t.route.Topic() != "":
		err = t.uncover(ctx, msg)
	case msg.Sequence <= t.Floor().Last: // it was settled, and a broker that was killed has brought it back
		err = t.removeUnread(ctx, msg.Sequence)
	default:
		err = t.settleUnread(ctx, msg)
	}
	t.p.sight.hinder(storeHidden, err)
	return err
}

// settleUnread gives a message that never comes out of the consumer its outcome,
// and removes it.
func (t *tenure) settleUnread(ctx context.Context, msg *jetstream.RawStreamMsg) error {
	key := wire.KeyOfSubject(msg.Subject)
	it := &lanes.Item{Rim: lanes.Rim{Raw: msg}, Seq: msg.Sequence, Came: time.Now(), Malformed: errHidden}
	it.Update, _ = wire.Decode(t.b.names, msg.Subject, msg.Header, nil) // whom to tell
	it.Update.Channel = t.p.r.entry.Config.Name
	e := t.unreadable(it)
	err := letterbox{t}.store(key, it, &e, "")
	if err != nil {
		return err
	}
	committed := make(chan struct{})
	t.commitAlone(lanes.Commit{Entry: e, Item: it, Done: func() { close(committed) }}, key)
	select {
	case <-committed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := t.removeUnread(ctx, msg.Sequence); err != nil {
		return err
	}
	t.log.Warn().Uint64("sequence", msg.Sequence).Msg("an update that NATS clients do not hand out is a dead letter now")
	return nil
}

// uncover puts a message in place of a topic's that clients hand out. Each channel that reads
// the topic settles that for itself: were the other one settled and removed here, the
// channels that have not met it would never hear of it.
func (t *tenure) uncover(ctx context.Context, hidden *jetstream.RawStreamMsg) error {
	msg := nats.NewMsg(t.b.names.Update(t.route, wire.KeyOfSubject(hidden.Subject)))
	msg.Header = plain.Headers(hidden.Header)
	_, err := t.b.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(hidden.Sequence))
	switch {
	case err == nil:
		t.log.Warn().Uint64("sequence", hidden.Sequence).Str("topic", t.route.Topic()).Msg("an update that NATS clients do not hand out was replaced by one that they do")
	case wire.IsWrongSequence(err): // the key has a newer message: of another channel's owner, or of the platform
		return t.removeUnread(ctx, hidden.Sequence)
	default:
		return fmt.Errorf("replace what the client does not hand out: %w", err)
	}
	return nil
}

// removeUnread removes a message that is settled from the channel's stream.
func (t *tenure) removeUnread(ctx context.Context, seq uint64) error {
	stream, err := t.b.js.Stream(ctx, t.stream)
	if err == nil {
		err = stream.DeleteMsg(ctx, seq)
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("remove what the client does not hand out: %w", err)
	}
	return nil
}

// unreadable returns the entry of an update that cannot be read.
func (t *tenure) unreadable(it *lanes.Item) wire.Entry {
	t.begin()
	defer t.end()
	return t.lanes.Unreadable(it)
}

// commitAlone queues the commit of an update that is in no lane, with its key.
func (t *tenure) commitAlone(c lanes.Commit, key string) {
	c.Key = t.view.Pin(key)
	defer t.view.Unpin(c.Key)
	t.begin()
	defer t.end()
	t.lanes.Queue(c)
}
