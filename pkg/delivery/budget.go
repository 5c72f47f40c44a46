package delivery

import (
	"context"
	"sync"
)

// defaultByteBudget bounds the updates that a worker holds, all channels
// together.
const defaultByteBudget = 64 << 20

// A byteBudget bounds the memory of a worker. Its shares are dynamic thresholds
// (Choudhury and Hahne, 1998): a share may grow as long as it holds less than
// what is still free, so that k greedy channels get a (k+1)th each and one is
// left for whoever comes next. A share that holds nothing always gets its first
// update: no channel stands still because of another (guarantee 7).
type byteBudget struct {
	mu      sync.Mutex
	free    int
	waiting map[chan struct{}]struct{}
}

func newByteBudget(size int) *byteBudget {
	return &byteBudget{free: size, waiting: map[chan struct{}]struct{}{}}
}

// A byteShare is what one partition holds of the budget.
type byteShare struct {
	b    *byteBudget
	held int
}

func (b *byteBudget) share() *byteShare { return &byteShare{b: b} }

// acquire waits until there is room for n bytes, or ctx ends.
func (s *byteShare) acquire(ctx context.Context, n int) error {
	for {
		room := s.tryAcquire(n)
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

// tryAcquire returns nil if it took n bytes, else what to wait for.
func (s *byteShare) tryAcquire(n int) chan struct{} {
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

// release gives n bytes back.
func (s *byteShare) release(n int) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.held -= n
	s.b.free += n
	for room := range s.b.waiting {
		close(room)
		delete(s.b.waiting, room)
	}
}

func (b *byteBudget) forget(room chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, room)
}
