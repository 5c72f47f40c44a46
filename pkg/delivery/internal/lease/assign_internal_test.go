package lease

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hms-utl/extsync/pkg/workers"
)

func workerNames(rng *rand.Rand, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("worker-%d-%x", i, rng.Uint32())
	}
	return out
}

func allShards() []int {
	out := make([]int, workers.Shards)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestPartitionsOfAChannelHaveShardsOfTheirOwn(t *testing.T) {
	for _, channel := range []string{"a", "erp_db", "appointment_calendar", "0"} {
		seen := map[int]bool{}
		for p := range workers.Shards {
			shard := workers.Shard(channel, p)
			if shard < 0 || shard >= workers.Shards || seen[shard] {
				t.Fatalf("channel %s: partition %d is on shard %d (taken: %v)", channel, p, shard, seen[shard])
			}
			seen[shard] = true
		}
	}
}

func TestAssignBoundsTheLoadWhateverTheOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		shards := rng.Perm(workers.Shards)[:rng.IntN(workers.Shards+1)]
		workers := workerNames(rng, 1+rng.IntN(20))
		got := Assign(shards, workers)
		if len(got) != len(shards) {
			t.Fatalf("%d of %d shards assigned", len(got), len(shards))
		}
		load := map[string]int{}
		for shard, w := range got {
			if !slices.Contains(shards, shard) || !slices.Contains(workers, w) {
				t.Fatalf("shard %d went to %q", shard, w)
			}
			load[w]++
		}
		most := (len(shards) + len(workers) - 1) / len(workers)
		for w, n := range load {
			if n > most {
				t.Fatalf("%s has %d of %d shards, more than %d", w, n, len(shards), most)
			}
		}
		rng.Shuffle(len(shards), func(i, j int) { shards[i], shards[j] = shards[j], shards[i] })
		rng.Shuffle(len(workers), func(i, j int) { workers[i], workers[j] = workers[j], workers[i] })
		if again := Assign(shards, workers); !maps.Equal(got, again) {
			t.Fatal("another order of the same sets gives another assignment")
		}
	}
	if got := Assign(allShards(), nil); len(got) != 0 {
		t.Fatalf("without workers: %v", got)
	}
}

func TestFourPartitionsOnFourWorkersEndOnFourWorkers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		channel := fmt.Sprintf("channel-%x", rng.Uint32())
		var shards []int
		for p := range 4 {
			shards = append(shards, workers.Shard(channel, p))
		}
		used := map[string]bool{}
		for _, w := range Assign(shards, workerNames(rng, 4)) {
			used[w] = true
		}
		if len(used) != 4 {
			t.Fatalf("channel %s is on %d workers", channel, len(used))
		}
	}
}

// A worker that joins or leaves moves few shards besides those that must move,
// the share of the one that comes or goes: at most an eighth of all on average.
// Modulo the number of workers nearly all would move.
func TestAssignMovesLittle(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	const rounds = 200
	for n := 1; n <= 12; n++ {
		moved := 0
		for range rounds {
			workers := workerNames(rng, n+1)
			before, after := Assign(allShards(), workers[:n]), Assign(allShards(), workers)
			for shard, w := range before {
				if after[shard] != w {
					moved++
				}
			}
		}
		least := float64(workers.Shards) / float64(n+1)
		average := float64(moved) / rounds
		t.Logf("%2d and %2d workers: %.1f shards differ, %.1f must", n, n+1, average, least)
		if average > least+workers.Shards/8 {
			t.Errorf("%d and %d workers: %.1f of %d shards differ on average, and %.1f must", n, n+1, average, workers.Shards, least)
		}
	}
}
