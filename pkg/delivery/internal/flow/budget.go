package flow

import (
	"context"
	"sync"
)

// DefaultBudget bounds the updates that a worker holds, all channels together, in
// bytes.
const DefaultBudget = 64 << 20

// A Budget bounds the memory of a worker. Its shares are dynamic thresholds
// (Choudhury and Hahne, 1998): a share may grow as long as it holds less than
// what is still free, so that k greedy channels get a (k+1)th each and one is
// left for whoever comes next. A share that holds nothing always gets its first
// update: no channel stands still because of another (guarantee 7).
type Budget struct {
	mu      sync.Mutex
	free    int
	waiting map[chan struct{}]struct{}
}

// NewBudget returns a budget of size bytes.
func NewBudget(size int) *Budget {
	return &Budget{free: size, waiting: map[chan struct{}]struct{}{}}
}

// A Share is what one partition holds of the budget. Its methods may be called
// concurrently.
type Share struct {
	b    *Budget
	held int
}

// Share returns a share that holds nothing. It needs no closing: who is done with it
// gives back what it holds.
func (b *Budget) Share() *Share { return &Share{b: b} }

// Take waits until there is room for n bytes, or ctx ends.
func (s *Share) Take(ctx context.Context, n int) error {
	for {
		room := s.tryTake(n)
		if room == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			s.b.forget(room)
			return ctx.Err()
		case <-room:
		}
	}
}

// tryTake returns nil if it took n bytes, else what to wait for.
func (s *Share) tryTake(n int) chan struct{} {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.held == 0 || s.held+n <= s.b.free {
		s.held += n
		s.b.free -= n
		return nil
	}
	room := make(chan struct{})
	s.b.waiting[room] = struct{}{}
	return room
}

// Give gives n bytes back.
func (s *Share) Give(n int) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.held -= n
	s.b.free += n
	for room := range s.b.waiting {
		close(room)
		delete(s.b.waiting, room)
	}
}

func (b *Budget) forget(room chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, room)
}
