package deadletters

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// keysAtOnce is how many keys are worked on at once. Letters of one key go one
	// by one, in order.
	keysAtOnce = 16
	// failuresKept bounds Summary.Errors.
	failuresKept = 10
)

// A Summary says what was done to many letters so far.
type Summary struct {
	Done       int `json:"done"`       // the sum of those below
	Delivered  int `json:"delivered"`  // ReplayAll
	Superseded int `json:"superseded"` // ReplayAll: a newer version is there
	UnderWay   int `json:"under_way"`  // ReplayAll: a call is on its way; their letters tell what becomes of it
	Malformed  int `json:"malformed"`  // ReplayAll: cannot be sent again
	Discarded  int `json:"discarded"`  // DiscardAll
	Gone       int `json:"gone"`       // resolved or removed by others meanwhile
	Failed     int `json:"failed"`
	// Errors are the first ten failures.
	Errors []error `json:"-"`
}

// ReplayAll does what Replay does for each letter that a filter selects, oldest
// first, but for those stored after it has begun. Only open letters are replayed, whatever
// the filter says of states. progress, if not nil, is called after every few letters. A letter that
// fails does not stop the others; the error says why they could not be gone
// through, and the summary is true all the same.
func (r *Replayer) ReplayAll(ctx context.Context, f Filter, progress func(Summary)) (Summary, error) {
	f.State, f.AnyState = StateOpen, false
	return r.each(ctx, f, progress, func(ctx context.Context, sequence uint64, sum *Summary) (*int, error) {
		res, err := r.Replay(ctx, sequence)
		switch {
		case errors.Is(err, ErrMalformed):
			return &sum.Malformed, nil
		case err != nil:
			return nil, err
		case res.UnderWay:
			return &sum.UnderWay, nil
		case res.Outcome == events.Delivered:
			return &sum.Delivered, nil
		default:
			return &sum.Superseded, nil
		}
	})
}

// DiscardAll does what Discard does for each letter that a filter selects, but for
// those stored after it has begun. With State set to StateResolved it removes what
// a killed worker could not. progress and the error are as for ReplayAll.
func (s *Store) DiscardAll(ctx context.Context, f Filter, progress func(Summary)) (Summary, error) {
	return s.each(ctx, f, progress, func(ctx context.Context, sequence uint64, sum *Summary) (*int, error) {
		if err := s.Discard(ctx, sequence); err != nil {
			return nil, err
		}
		return &sum.Discarded, nil
	})
}

// each works through the letters that a filter selects. work returns which
// number of the summary counts it.
func (s *Store) each(ctx context.Context, f Filter, progress func(Summary),
	work func(context.Context, uint64, *Summary) (*int, error),
) (Summary, error) {
	var (
		sum Summary
		mu  sync.Mutex
	)
	do := func(ctx context.Context, l *letter) error {
		count, err := work(ctx, l.Sequence, &sum)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			*count++
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrResolved):
			sum.Gone++
		case errors.Is(err, events.ErrUnavailable), ctx.Err() != nil:
			return err // the others would fare no better
		default:
			sum.Failed++
			if len(sum.Errors) < failuresKept {
				sum.Errors = append(sum.Errors, err)
			}
		}
		sum.Done++
		return nil
	}
	for chunk, err := range s.scan(ctx, f, 0) {
		if err == nil {
			err = byKey(ctx, chunk, do)
		}
		if err != nil {
			return sum, fmt.Errorf("after %d letters: %w", sum.Done, err)
		}
		if progress != nil {
			progress(sum)
		}
	}
	return sum, nil
}

// byKey does something to each letter: several keys at once, the letters of one in
// order.
func byKey(ctx context.Context, chunk []letter, do func(context.Context, *letter) error) error {
	keys := map[string][]*letter{}
	for i := range chunk {
		keys[chunk[i].subject] = append(keys[chunk[i].subject], &chunk[i])
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(keysAtOnce)
	for _, letters := range keys {
		group.Go(func() error {
			for _, l := range letters {
				if err := do(ctx, l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}
