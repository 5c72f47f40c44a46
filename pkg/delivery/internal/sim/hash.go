package sim

import (
	"hash/fnv"
	"strconv"
)

// Hash returns a number that follows from a seed and a text.
func Hash(seed uint64, text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(strconv.AppendUint([]byte(text), seed, 36)) // it never fails
	n := h.Sum64()
	n ^= n >> 31
	n *= 0x94d049bb133111eb // the finalizer of splitmix64 (Steele, Lea and Flood, 2014): FNV alone leaves neighbours close
	return n ^ n>>29
}

// Share returns a hash as a number of at least 0 and below 1.
func Share(hash uint64) float64 { return float64(hash>>11) / (1 << 53) }
