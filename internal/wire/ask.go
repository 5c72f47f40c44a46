package wire

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

const (
	// readAhead is how many messages an asker asks for at once at most, and holds.
	readAhead = 32
	// readSpan is from how many sequences on a stream is searched for a time, and not
	// simply read.
	readSpan = 2 * readAhead
)

// An asker asks for several messages at once: for the first one from each of the next
// sequences on. Where few of them match it asks for fewer, as the answers are the same.
type asker struct {
	js    jetstream.JetStream
	q     StreamQuery
	next  uint64 // sequence from which on nothing has been given yet
	ahead int
}

func (r *asker) run(ctx context.Context, yield func(*jetstream.RawStreamMsg) bool) error {
	stream, err := r.js.Stream(ctx, r.q.Stream)
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	r.ahead = 2
	if r.q.Until == 0 {
		r.q.Until = state.LastSeq
	}
	r.next = max(r.q.From, state.FirstSeq, 1)
	if r.q.From == 0 && !r.q.Since.IsZero() {
		if err := r.seek(ctx, state.LastSeq); err != nil {
			return err
		}
	}
	for r.next <= r.q.Until {
		found, err := r.fetch(ctx)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return nil
		}
		for _, msg := range found {
			if msg.Sequence > r.q.Until {
				return nil
			}
			r.next = msg.Sequence + 1
			if r.q.From == 0 && msg.Time.Before(r.q.Since) {
				continue
			}
			if !yield(trim(msg, r.q)) {
				return nil
			}
		}
	}
	return nil
}

// seek moves next close to the first message that was stored at Since or later. The
// clocks of leaders differ, so it stops some messages before.
func (r *asker) seek(ctx context.Context, last uint64) error {
	for low, high := r.next, last; ; {
		if high < low+readSpan {
			return nil
		}
		middle := low + (high-low)/2
		msg, err := ReadFromLeader(ctx, r.js, r.q.Stream, MessageQuery{NextOn: r.q.Subject, Sequence: middle})
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			high = middle
		case err != nil:
			return err
		case msg.Time.Before(r.q.Since):
			low, r.next = middle, max(r.next, middle)
		default:
			high = middle
		}
	}
}

// fetch returns the messages that match among the next sequences, and the first one
// behind them; none at the end of the stream.
func (r *asker) fetch(ctx context.Context) ([]*jetstream.RawStreamMsg, error) {
	n := int(min(uint64(r.ahead), r.q.Until-r.next+1)) //nolint:gosec // ahead is small and positive
	found := make([]*jetstream.RawStreamMsg, n)
	group, ctx := errgroup.WithContext(ctx)
	for i := range n {
		group.Go(func() (err error) {
			q := MessageQuery{NextOn: r.q.Subject, Sequence: r.next + uint64(i)}
			found[i], err = ReadFromLeader(ctx, r.js, r.q.Stream, q)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(m *jetstream.RawStreamMsg) bool { return m == nil })
	slices.SortFunc(found, func(a, b *jetstream.RawStreamMsg) int { return cmp.Compare(a.Sequence, b.Sequence) })
	found = slices.CompactFunc(found, func(a, b *jetstream.RawStreamMsg) bool { return a.Sequence == b.Sequence })
	if 2*len(found) > n {
		r.ahead = min(2*r.ahead, readAhead)
	} else {
		r.ahead = max(r.ahead/2, 1)
	}
	return found, nil
}
