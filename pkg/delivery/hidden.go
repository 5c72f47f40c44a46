package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// A message without payload that has a header called Status is taken by the NATS
// client for a word of the server: it is never handed out, and may end the pull.
// Somebody who publishes by hand can store one. It would stop its partition for
// good; so, whenever the consumer gives no more, what comes next in the stream is
// read by the stream's API, given its outcome and removed (guarantee 5).

const (
	headerStatus       = "Status"
	defaultHiddenCheck = time.Minute
)

// errHidden is what the publisher of such an update is told.
var errHidden = fmt.Errorf("%w: an update without payload must not have a header %q: NATS clients do not hand it out", events.ErrInvalidUpdate, headerStatus)

// isHidden reports whether the client would keep a message to itself.
func isHidden(msg *jetstream.RawStreamMsg) bool {
	return len(msg.Data) == 0 && msg.Header.Get(headerStatus) != ""
}

// settleHidden settles what comes next in the partition as long as the client
// would not hand it out, and reports whether there was any. Only pull calls it.
func (t *tenure) settleHidden(ctx context.Context) (found bool, err error) {
	t.mu.Lock()
	from := t.floor.Last() + 1
	t.mu.Unlock()
	for {
		msg, err := t.nextInStream(ctx, from)
		if err != nil {
			return found, err
		}
		if msg == nil || !isHidden(msg) {
			t.p.sight.hinder(storeHidden, nil)
			return found, nil
		}
		err = t.settleUnread(ctx, msg)
		t.p.sight.hinder(storeHidden, err)
		if err != nil {
			return found, err
		}
		found, from = true, msg.Sequence+1
	}
}

// nextInStream returns the partition's first message at or after a sequence; nil
// if there is none.
func (t *tenure) nextInStream(ctx context.Context, from uint64) (*jetstream.RawStreamMsg, error) {
	var next *jetstream.RawStreamMsg
	for _, subject := range t.subjects() {
		msg, err := events.ReadFromLeader(ctx, t.b.js, t.stream, events.MessageQuery{NextOn: subject, Sequence: from})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for what the client does not hand out: %w", err)
		}
		if next == nil || msg.Sequence < next.Sequence {
			next = msg
		}
	}
	return next, nil
}

// settleUnread gives a message that never comes out of the consumer its outcome,
// and removes it.
func (t *tenure) settleUnread(ctx context.Context, msg *jetstream.RawStreamMsg) error {
	key := laneKey(msg.Subject)
	it := &item{raw: msg, seq: msg.Sequence, came: time.Now(), malformed: errHidden}
	it.u, _ = events.Decode(t.b.names, msg.Subject, msg.Header, nil) // whom to tell
	d := settle(it, events.DeadLettered, connectors.Permanent, codeMalformed, errHidden.Error())
	e := t.entry(it, d.settlement, connectors.Result{})
	if err := t.storeDead(key, it, e, ""); err != nil {
		return err
	}
	committed := make(chan struct{})
	t.mu.Lock()
	pinned := t.view.Pin(key)
	t.enqueueCommit(commit{entry: e, key: pinned, item: it, committed: func() { close(committed) }})
	t.view.Unpin(pinned)
	t.mu.Unlock()
	select {
	case <-committed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	stream, err := t.b.js.Stream(ctx, t.stream)
	if err == nil {
		err = stream.DeleteMsg(ctx, msg.Sequence)
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("remove what the client does not hand out: %w", err)
	}
	t.log.Warn().Uint64("sequence", msg.Sequence).Msg("an update that NATS clients do not hand out is a dead letter now")
	return nil
}
