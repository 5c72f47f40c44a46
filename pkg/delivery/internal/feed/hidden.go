package feed

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
)

// A message without payload that has a header called Status is taken by the NATS
// client for a word of the server: it is never handed out, and may end the pull.
// Somebody who publishes by hand can store one. It would stop its partition for
// good; so, whenever the consumer gives no more, what comes next in the stream is
// read by the stream's API and given to the taker (guarantee 5).

// isHidden reports whether the client would keep a message to itself.
func isHidden(msg *jetstream.RawStreamMsg) bool {
	return len(msg.Data) == 0 && msg.Header.Get(plain.HeaderStatus) != ""
}

// A gap is where messages are missing that the consumer has sent: sequences from and up
// to, without to itself; to is 0 while none are.
type gap struct{ from, to uint64 }

// LookHidden gives what comes next in the partition to the taker as long as the client
// would not hand it out, and what it has not handed out of a gap. It reports whether there
// was any. It is for the goroutine of Run.
func (f *Feed) LookHidden(ctx context.Context) (found bool, err error) {
	missing, floor := f.gap, f.to.Floor()
	f.gap.to = 0
	next := floor.Last + 1
	if !f.o.Queue {
		missing.from = max(missing.from, floor.Seq+1)
	}
	if missing.to != 0 && missing.from < next {
		// A work queue is read from its beginning: a broker that was killed may have
		// brought a message back there.
		if found, err = f.lookHidden(ctx, missing.from, func(m *jetstream.RawStreamMsg) bool { return m.Sequence < min(missing.to, next) }); err != nil {
			return found, err
		}
	}
	more, err := f.lookHidden(ctx, next, isHidden)
	if err != nil {
		return found, err
	}
	return found || more, f.to.TakeHidden(ctx, nil)
}

// ClearHidden gives hidden messages from a sequence up to another to the taker, for whoever
// reads the stream by another consumer and does not get them.
func (f *Feed) ClearHidden(ctx context.Context, from, upto uint64) (found bool, err error) {
	return f.lookHidden(ctx, from, func(m *jetstream.RawStreamMsg) bool { return m.Sequence <= upto })
}

// lookHidden gives hidden messages from a sequence on to the taker, as long as while says.
func (f *Feed) lookHidden(ctx context.Context, from uint64, while func(*jetstream.RawStreamMsg) bool) (found bool, err error) {
	for {
		msg, err := f.next(ctx, from)
		if err != nil || msg == nil || !while(msg) {
			return found, err
		}
		from = msg.Sequence + 1
		if !isHidden(msg) {
			continue
		}
		if err := f.to.TakeHidden(ctx, msg); err != nil {
			return found, err
		}
		found = true
	}
}

// next returns the partition's first message at or after a sequence; nil
// if there is none.
func (f *Feed) next(ctx context.Context, from uint64) (*jetstream.RawStreamMsg, error) {
	next, err := wire.ReadFromLeader(ctx, f.o.JS, f.stream, wire.MessageQuery{NextOn: f.Subject(), Sequence: from})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("look for what the client does not hand out: %w", err)
	}
	return next, nil
}
