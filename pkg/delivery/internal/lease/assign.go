package lease

import (
	"hash/fnv"
	"slices"
	"strconv"
)

// Assign spreads shards over workers: rendezvous hashing (Thaler and
// Ravishankar, 1998) with a bound on the load (after Mirrokni, Thorup and
// Zadimoghaddam, 2018): each shard goes to the worker that it likes best among
// those with less than ceil(shards/workers). The result depends on nothing but
// the two sets, so workers that see the same sets agree without talking.
func Assign(shards []int, live []string) map[int]string {
	out := make(map[int]string, len(shards))
	if len(live) == 0 {
		return out
	}
	shards = slices.Sorted(slices.Values(shards))
	live = slices.Sorted(slices.Values(live))
	most := (len(shards) + len(live) - 1) / len(live)
	load := make(map[string]int, len(live))
	for _, shard := range shards {
		best, bestScore := "", uint64(0)
		for _, w := range live {
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
