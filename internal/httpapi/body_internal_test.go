package httpapi

import (
	"fmt"
	"testing"
)

// Whatever callers hold, there is something left for the next one, and all of it
// comes back.
func TestSharesLeaveSomething(t *testing.T) {
	s := shares{held: map[string]int64{}}
	const part = 1 << 20
	taken := map[string]int64{}
	for i := range 5 {
		owner := fmt.Sprint("greedy", i)
		for s.take(owner, part) {
			taken[owner] += part
		}
		if taken[owner] == 0 {
			t.Fatalf("nothing is left for caller %d", i)
		}
	}
	if taken["greedy0"] != bodyBudget/2 || s.total >= bodyBudget {
		t.Errorf("taken %v, %d of %d in all", taken, s.total, bodyBudget)
	}
	for owner, n := range taken {
		s.give(owner, n)
	}
	if s.total != 0 || len(s.held) != 0 {
		t.Errorf("%d bytes are still held: %v", s.total, s.held)
	}
}
