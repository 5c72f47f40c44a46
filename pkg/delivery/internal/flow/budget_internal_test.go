package flow

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
)

// takeAll takes for a share as much as it may have, in steps of n.
func (s *Share) takeAll(n int) {
	for {
		room := s.tryTake(n)
		if room != nil {
			s.b.forget(room)
			return
		}
	}
}

func TestGreedySharesLeaveAsMuchAsTheyTake(t *testing.T) {
	const size = 12_000
	for k := 1; k <= 4; k++ {
		b := NewBudget(size)
		shares := make([]*Share, k)
		for i := range shares {
			shares[i] = b.Share()
		}
		for range 200 { // what one gives back another takes, until nothing moves
			for _, s := range shares {
				s.takeAll(10)
				if s.held > size/(k+1) {
					s.Give(10 * ((s.held - size/(k+1) + 9) / 10))
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
	b := NewBudget(100)
	greedy := b.Share()
	testkit.Must(t, greedy.Take(t.Context(), 1000)) // even one that is larger than the budget
	for range 10 {
		testkit.Must(t, b.Share().Take(t.Context(), 1000))
	}
	second := b.Share()
	testkit.Must(t, second.Take(t.Context(), 1))
	if second.tryTake(1) == nil {
		t.Fatal("the second one fits into a budget that is spent")
	}
}

func TestWaiterGoesOnWhenThereIsRoomAndNotBefore(t *testing.T) {
	b := NewBudget(100)
	s := b.Share()
	testkit.Must(t, s.Take(t.Context(), 50))
	got := make(chan error, 1)
	go func() { got <- s.Take(t.Context(), 10) }()
	testkit.Eventually(t, "somebody to wait", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.waiting) == 1
	})
	select {
	case err := <-got:
		t.Fatalf("room was found where there is none: %v", err)
	default:
	}
	s.Give(50)
	select {
	case err := <-got:
		testkit.Must(t, err)
	case <-time.After(testkit.Patience):
		t.Fatal("the waiter was not woken")
	}
	if s.held != 10 || b.free != 90 {
		t.Fatalf("share holds %d, %d are free", s.held, b.free)
	}
}

func TestCancelledWaiterLeavesNothingBehind(t *testing.T) {
	b := NewBudget(100)
	s := b.Share()
	testkit.Must(t, s.Take(t.Context(), 60))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Take(ctx, 60); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if len(b.waiting) != 0 || s.held != 60 || b.free != 40 {
		t.Fatalf("%d waiters, share holds %d, %d are free", len(b.waiting), s.held, b.free)
	}
}

func TestBudgetIsWholeAgainAfterEverybodyHasLeft(t *testing.T) {
	const size = 10_000
	b := NewBudget(size)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := b.Share()
			taken := make(chan int, 64)
			wg.Go(func() { // another goroutine gives back what one takes, as settling does
				for n := range taken {
					s.Give(n)
				}
			})
			defer close(taken)
			for j := range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				n := 1 + (i*31+j*17)%3000
				if s.Take(ctx, n) == nil {
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
