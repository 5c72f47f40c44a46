package delivery

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// takeAll takes for a share as much as it may have, in steps of n.
func (s *byteShare) takeAll(n int) {
	for {
		room := s.tryAcquire(n)
		if room != nil {
			s.b.forget(room)
			return
		}
	}
}

func TestGreedySharesLeaveAsMuchAsTheyTake(t *testing.T) {
	const size = 12_000
	for k := 1; k <= 4; k++ {
		b := newByteBudget(size)
		shares := make([]*byteShare, k)
		for i := range shares {
			shares[i] = b.share()
		}
		for range 200 { // what one gives back another takes, until nothing moves
			for _, s := range shares {
				s.takeAll(10)
				if s.held > size/(k+1) {
					s.release(10 * ((s.held - size/(k+1) + 9) / 10))
				}
			}
		}
		want := size / (k + 1)
		for i, s := range shares {
			s.takeAll(10)
			if s.held < want-20*k || s.held > want+20*k {
				t.Errorf("%d greedy shares: share %d holds %d, not about %d", k, i, s.held, want)
			}
		}
		if b.free < want-20*k {
			t.Errorf("%d greedy shares leave %d, not about %d", k, b.free, want)
		}
	}
}

func TestNewcomerAlwaysGetsItsFirst(t *testing.T) {
	b := newByteBudget(100)
	greedy := b.share()
	must(t, greedy.acquire(t.Context(), 1000)) // even one that is larger than the budget
	for range 10 {
		must(t, b.share().acquire(t.Context(), 1000))
	}
	second := b.share()
	must(t, second.acquire(t.Context(), 1))
	if second.tryAcquire(1) == nil {
		t.Fatal("the second one fits into a budget that is spent")
	}
}

func TestWaiterGoesOnWhenThereIsRoomAndNotBefore(t *testing.T) {
	b := newByteBudget(100)
	s := b.share()
	must(t, s.acquire(t.Context(), 50))
	got := make(chan error, 1)
	go func() { got <- s.acquire(t.Context(), 10) }()
	eventually(t, "somebody to wait", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.waiting) == 1
	})
	select {
	case err := <-got:
		t.Fatalf("room was found where there is none: %v", err)
	default:
	}
	s.release(50)
	select {
	case err := <-got:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("the waiter was not woken")
	}
	if s.held != 10 || b.free != 90 {
		t.Fatalf("share holds %d, %d are free", s.held, b.free)
	}
}

func TestCancelledWaiterLeavesNothingBehind(t *testing.T) {
	b := newByteBudget(100)
	s := b.share()
	must(t, s.acquire(t.Context(), 60))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.acquire(ctx, 60); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if len(b.waiting) != 0 || s.held != 60 || b.free != 40 {
		t.Fatalf("%d waiters, share holds %d, %d are free", len(b.waiting), s.held, b.free)
	}
}

func TestBudgetIsWholeAgainAfterEverybodyHasLeft(t *testing.T) {
	const size = 10_000
	b := newByteBudget(size)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := b.share()
			taken := make(chan int, 64)
			wg.Go(func() { // another goroutine gives back what one takes, as settling does
				for n := range taken {
					s.release(n)
				}
			})
			defer close(taken)
			for j := range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				n := 1 + (i*31+j*17)%3000
				if s.acquire(ctx, n) == nil {
					taken <- n
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if b.free != size || len(b.waiting) != 0 {
		t.Fatalf("%d of %d are free, %d wait", b.free, size, len(b.waiting))
	}
}
