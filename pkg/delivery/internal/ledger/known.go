package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"time"

	"github.com/bits-and-blooms/bloom/v3"

	"github.com/hms-utl/extsync/internal/wire"
)

const (
	// knownMost is the most records of a partition of which the keys are listed at a
	// takeover. The server sorts all of them for each page of 100,000.
	knownMost = 300_000
	// knownBits and knownHashes make one key in about a thousand and a half look as if
	// it had a record, for each layer; it is read in vain then.
	knownBits   = 16
	knownHashes = 8
	knownFirst  = 1024 // keys for which the first layer is made
	// listPatience bounds the listing.
	listPatience = 30 * time.Second
)

// known is a set of keys in about 16 bits for each, which may seem to have a few
// that were never added. By two of them a view tells that the ledger has no record
// of a key without reading it (docs/adr/0018): one holds what was listed, one what
// this view has written since. No record is missed:
//
//   - what was in the ledger after the log was fenced was listed then;
//   - what a predecessor may still write is of entries that were in the log before,
//     and either complete in the ledger by the progress, or recovered by us;
//   - everything else is written by this view.
type known struct {
	seed   maphash.Seed
	layers []layer
}

// A layer is a Bloom filter for a number of keys.
type layer struct {
	filter *bloom.BloomFilter
	room   int
}

func newKnown() *known { return &known{seed: maphash.MakeSeed()} }

// mayHave reports whether the key may have been added.
func (k *known) mayHave(key string) bool {
	h := k.hash(key)
	return k.has(&h)
}

// add does nothing for nil.
func (k *known) add(key string) {
	if k == nil {
		return
	}
	if h := k.hash(key); !k.has(&h) {
		k.put(&h)
	}
}

// addNew adds a key that surely has not been added. It does nothing for nil.
func (k *known) addNew(key string) {
	if k == nil {
		return
	}
	h := k.hash(key)
	k.put(&h)
}

// hash makes all keys equally long, so that none is copied for the filter.
func (k *known) hash(key string) (out [8]byte) {
	binary.LittleEndian.PutUint64(out[:], maphash.String(k.seed, key))
	return out
}

func (k *known) has(h *[8]byte) bool {
	for i := range k.layers {
		if k.layers[i].filter.Test(h[:]) {
			return true
		}
	}
	return false
}

func (k *known) put(h *[8]byte) {
	n := len(k.layers)
	if n == 0 || k.layers[n-1].room == 0 {
		room := knownFirst << n                                                                              // each twice as large as the one before
		k.layers = append(k.layers, layer{filter: bloom.New(uint(room*knownBits), knownHashes), room: room}) //nolint:gosec // not negative
		n++
	}
	k.layers[n-1].filter.Add(h[:])
	k.layers[n-1].room--
}

// List notes which of the partition's keys have records in the ledger. Until it has
// returned nil, the record of each new key is looked for. With too many records it returns
// an error.
func (v *View) List(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	listed := newKnown()
	err := wire.LedgerKeys(ctx, v.o.JS, v.o.Names, v.o.Records, knownMost, listed.add)
	v.mu.Lock()
	defer v.mu.Unlock()
	if errors.Is(err, wire.ErrTooManyKeys) {
		v.written = nil // it is of no use, and would grow
	}
	if err == nil {
		v.listed = listed
	}
	return err
}
