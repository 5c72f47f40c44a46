package operate

import (
	"hash/maphash"
	"slices"
)

// A keySet is a set of keys in eight bytes for each. One in 10^13 keys that are not in a
// set of a million is taken for one that is.
type keySet struct {
	seed   maphash.Seed
	hashes []uint64
}

func newKeySet() keySet { return keySet{seed: maphash.MakeSeed()} }

func (s *keySet) add(key string) { s.hashes = append(s.hashes, maphash.String(s.seed, key)) }

// sort is to be called when all keys are added, before has.
func (s *keySet) sort() { slices.Sort(s.hashes) }

func (s *keySet) has(key string) bool {
	_, found := slices.BinarySearch(s.hashes, maphash.String(s.seed, key))
	return found
}
