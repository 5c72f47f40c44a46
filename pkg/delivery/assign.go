package delivery

import (
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/hms-utl/extsync/pkg/events"
)

// shardOf returns the shard that a partition of a channel belongs to. The
// partitions of one channel lie on shards of their own.
func shardOf(channel string, partition int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(channel)) // a hash never fails to write
	return int((uint64(h.Sum32()) + uint64(partition)) % events.Slots)
}

// partitionSlots returns the slots of a partition.
func partitionSlots(partition, partitions int) []int {
	var out []int
	for slot := partition; slot < events.Slots; slot += partitions {
		out = append(out, slot)
	}
	return out
}

// assign spreads shards over workers: rendezvous hashing (Thaler and
// Ravishankar, 1998) with a bound on the load (after Mirrokni, Thorup and
// Zadimoghaddam, 2018): each shard goes to the worker that it likes best among
// those with less than ceil(shards/workers). The result depends on nothing but
// the two sets, so workers that see the same sets agree without talking.
func assign(shards []int, workers []string) map[int]string {
	out := make(map[int]string, len(shards))
	if len(workers) == 0 {
		return out
	}
	shards = slices.Sorted(slices.Values(shards))
	workers = slices.Sorted(slices.Values(workers))
	most := (len(shards) + len(workers) - 1) / len(workers)
	load := make(map[string]int, len(workers))
	for _, shard := range shards {
		best, bestScore := "", uint64(0)
		for _, w := range workers {
			if load[w] >= most {
				continue
			}
			if s := score(shard, w); best == "" || s > bestScore {
				best, bestScore = w, s
			}
		}
		out[shard] = best
		load[best]++
	}
	return out
}

// score mixes shard and worker. The finalizer is MurmurHash3's (Appleby, public
// domain): FNV alone leaves the scores of similar names similar.
func score(shard int, worker string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(strconv.Itoa(shard) + "|" + worker)) // a hash never fails to write
	v := h.Sum64()
	v ^= v >> 33
	v *= 0xff51afd7ed558ccd
	v ^= v >> 33
	v *= 0xc4ceb9fe1a85ec53
	v ^= v >> 33
	return v
}
