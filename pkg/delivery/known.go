package delivery

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// knownMost is the most records of a channel of which the keys are listed at a
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
// this tenure has written since. No record is missed:
//
//   - what was in the ledger after the log was fenced was listed then;
//   - what a predecessor may still write is of entries that were in the log before,
//     and either complete in the ledger by the progress, or recovered by us;
//   - everything else is written by this tenure.
type known struct {
	seed   maphash.Seed
	layers []layer
}

// A layer is a Bloom filter for a number of keys.
type layer struct {
	bits []uint64
	room int
}

func newKnown() *known { return &known{seed: maphash.MakeSeed()} }

// mayHave reports whether the key may have been added.
func (k *known) mayHave(key string) bool {
	h := maphash.String(k.seed, key)
	for i := range k.layers {
		if k.layers[i].has(h) {
			return true
		}
	}
	return false
}

func (k *known) add(key string) {
	h := maphash.String(k.seed, key)
	for i := range k.layers {
		if k.layers[i].has(h) {
			return
		}
	}
	k.put(h)
}

// addNew adds a key that surely has not been added.
func (k *known) addNew(key string) { k.put(maphash.String(k.seed, key)) }

func (k *known) put(h uint64) {
	n := len(k.layers)
	if n == 0 || k.layers[n-1].room == 0 {
		size := knownFirst << n // each twice as large as the one before
		k.layers = append(k.layers, layer{bits: make([]uint64, size*knownBits/64), room: size})
		n++
	}
	k.layers[n-1].add(h)
}

// place returns the i-th bit of a hash (Kirsch and Mitzenmacher, 2006).
func (l *layer) place(h uint64, i int) (word int, bit uint64) {
	n := uint32(len(l.bits) * 64) //nolint:gosec // far below 2^32
	at := (uint32(h) + uint32(i)*(uint32(h>>32)|1)) % n
	return int(at / 64), 1 << (at % 64)
}

func (l *layer) has(h uint64) bool {
	for i := range knownHashes {
		if word, bit := l.place(h, i); l.bits[word]&bit == 0 {
			return false
		}
	}
	return true
}

func (l *layer) add(h uint64) {
	for i := range knownHashes {
		word, bit := l.place(h, i)
		l.bits[word] |= bit
	}
	l.room--
}

// listKnown lists the keys of the partition that are in the ledger. Until it is
// done, and where there are too many, records are read one by one.
func (t *tenure) listKnown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	cfg := t.p.r.entry.Config
	listed := newKnown()
	err := events.LedgerKeys(ctx, t.b.js, t.b.names, cfg.Name, knownMost, func(key string) {
		if events.Slot(key)%cfg.Partitions == t.p.index {
			listed.add(key)
		}
	})
	if err != nil {
		if ctx.Err() == nil {
			t.log.Info().Err(err).Msg("the ledger's keys are not listed: each new key's record is looked for")
		}
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.view.listed = listed
}
