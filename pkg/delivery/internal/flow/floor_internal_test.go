package flow

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
		var f Floor
		model := naiveFloor{start: rng.Uint64N(1000), done: map[uint64]bool{}}
		f.StartAt(model.start, 0)
		last := model.start
		var open []uint64
		for range 400 {
			switch rng.IntN(5) {
			case 0, 1: // sequences have gaps: other partitions' updates
				last += 1 + rng.Uint64N(5)
				if !f.Add(last, int64(last)) {
					t.Fatalf("sequence %d is refused", last)
				}
				model.came, open = append(model.came, last), append(open, last)
			case 2, 3:
				if len(open) == 0 {
					continue
				}
				i := rng.IntN(len(open))
				f.Done(open[i])
				model.done[open[i]] = true
				open = append(open[:i], open[i+1:]...)
			case 4: // what never came, came before, or is settled already
				if f.Add(last-rng.Uint64N(min(last, 10)+1), 0) {
					t.Fatal("an old sequence was taken")
				}
				stray := model.start + rng.Uint64N(last-model.start+2)
				if model.done[stray] || !slices.Contains(model.came, stray) {
					f.Done(stray)
				}
			}
			if f.Value() != model.value() {
				t.Fatalf("floor %d, not %d (open: %v)", f.Value(), model.value(), open)
			}
		}
	}
}

func TestFloorGivesItsMemoryBack(t *testing.T) {
	var f Floor
	for seq := uint64(1); seq <= 100_000; seq++ {
		f.Add(seq, int64(seq))
		if seq > 10 { // ten stay open
			f.Done(seq - 10)
		}
	}
	if f.Value() != 99_990 || len(f.open) > 5000 {
		t.Fatalf("floor %d, %d entries in memory", f.Value(), len(f.open))
	}
	f.StartAt(5, 0)
	if f.Value() != 5 || f.Add(5, 0) || !f.Add(6, 0) {
		t.Fatal("startAt does not start anew")
	}
}
