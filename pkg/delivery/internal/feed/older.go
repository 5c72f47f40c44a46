package feed

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
)

// clockSlack is by how much a message may be newer than the floor's newest without a
// closer look.
const clockSlack = 250 * time.Millisecond

// contradiction returns what shows that a floor is not of the stream as it is now:
// all up to it was stored by its time, and its last came at most. "" if nothing does.
func (f *Feed) contradiction(ctx context.Context, info *jetstream.StreamInfo, floor Floor) (string, error) {
	if last := max(floor.Seq, floor.Last); last > info.State.LastSeq {
		return fmt.Sprintf("the stream ends at %d, but %d was seen", info.State.LastSeq, last), nil
	}
	if floor.Seq == 0 || floor.Stored == 0 {
		return "", nil
	}
	newer := func(subject string) (*jetstream.RawStreamMsg, error) {
		msg, err := wire.LastUpTo(ctx, f.o.JS, f.stream, subject, floor.Seq)
		if err != nil {
			return nil, fmt.Errorf("look at what is below the floor: %w", err)
		}
		if msg == nil || msg.Time.UnixNano() <= floor.Stored+int64(clockSlack) {
			return nil, nil //nolint:nilnil // there is none
		}
		return msg, nil
	}
	msg, err := newer(wire.StoredUpdates(f.o.Names, f.o.Route))
	if err != nil || msg == nil {
		return "", err
	}
	// That may be of another partition, stored by a server whose clock is ahead, or before
	// the clock was set back. Of this one all up to the floor was settled by its time.
	if msg, err = newer(f.Subject()); err != nil || msg == nil {
		return "", err
	}
	return fmt.Sprintf("sequence %d was given again, %s after all up to %d was settled", msg.Sequence,
		msg.Time.Sub(time.Unix(0, floor.Stored)).Round(time.Millisecond), floor.Seq), nil
}

// verify returns ErrOlder if the stream is older than when its last came, or than when all
// up to the floor was settled, and ErrReplaced if it is another one.
func (f *Feed) verify(ctx context.Context, floor Floor) error {
	stream, err := f.same(ctx)
	if err != nil {
		return err
	}
	found, err := f.contradiction(ctx, stream.CachedInfo(), floor)
	if err == nil && found != "" {
		f.o.Older(found)
		err = fmt.Errorf("%w: %s", ErrOlder, found)
	}
	return err
}
