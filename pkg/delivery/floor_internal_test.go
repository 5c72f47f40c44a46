package delivery

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// naiveFloor says the same in the plainest way.
type naiveFloor struct {
	start uint64
	came  []uint64
	done  map[uint64]bool
}

func (n *naiveFloor) value() uint64 {
	floor := n.start
	for _, seq := range n.came {
		if !n.done[seq] {
			break
		}
		floor = seq
	}
	return floor
}

func TestFloorAgreesWithTheNaiveOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 50 {
		var f floor
		model := naiveFloor{start: rng.Uint64N(1000), done: map[uint64]bool{}}
		f.startAt(model.start, 0)
		last := model.start
		var open []uint64
		for range 400 {
			switch rng.IntN(5) {
			case 0, 1: // sequences have gaps: other partitions' updates
				last += 1 + rng.Uint64N(5)
				if !f.add(last, int64(last)) {
					t.Fatalf("sequence %d is refused", last)
				}
				model.came, open = append(model.came, last), append(open, last)
			case 2, 3:
				if len(open) == 0 {
					continue
				}
				i := rng.IntN(len(open))
				f.done(open[i])
				model.done[open[i]] = true
				open = append(open[:i], open[i+1:]...)
			case 4: // what never came, came before, or is settled already
				if f.add(last-rng.Uint64N(min(last, 10)+1), 0) {
					t.Fatal("an old sequence was taken")
				}
				stray := model.start + rng.Uint64N(last-model.start+2)
				if model.done[stray] || !slices.Contains(model.came, stray) {
					f.done(stray)
				}
			}
			if f.value() != model.value() {
				t.Fatalf("floor %d, not %d (open: %v)", f.value(), model.value(), open)
			}
		}
	}
}

func TestFloorGivesItsMemoryBack(t *testing.T) {
	var f floor
	for seq := uint64(1); seq <= 100_000; seq++ {
		f.add(seq, int64(seq))
		if seq > 10 { // ten stay open
			f.done(seq - 10)
		}
	}
	if f.value() != 99_990 || len(f.open) > 5000 {
		t.Fatalf("floor %d, %d entries in memory", f.value(), len(f.open))
	}
	f.startAt(5, 0)
	if f.value() != 5 || f.add(5, 0) || !f.add(6, 0) {
		t.Fatal("startAt does not start anew")
	}
}
