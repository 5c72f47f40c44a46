package ledger

import (
	"container/list"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/why"
)

const (
	stateBytes    = 300 // of a key in memory without its record, roughly
	recordBytes   = 440 // of a record that is in use, without its settlements
	settlingBytes = 224 // of each of them
	// sparesMost is how many records that were in use lie ready for the next ones.
	sparesMost = 256
)

// A Key is what a view knows of one key. It belongs to the view: whoever has pinned
// it hands it to the view's methods and looks at nothing else.
type Key struct {
	encoded  string
	rec      *wire.Record // in use; nil: see packed
	packed   string       // the record when nobody uses it; "": empty, or in use
	revision uint64       // in the bucket; 0: not there
	weight   weight       // of what is there
	loaded   bool
	standing why.Standing // by the record; the zero Standing until it is loaded
	// unwritten says that the view's written does not have the key yet.
	unwritten bool
	base      wire.LogPosition // of the record that was loaded
	dirty     bool             // ahead of the bucket
	size      int              // with which it counts, while it is dirty
	fresh     int              // what it will take in the bucket, while it is dirty and not there
	pins      int
	// idle is its place among those that nobody uses, nil if somebody does.
	idle *list.Element
}

// Encoded returns the key as it stands in subjects.
func (k *Key) Encoded() string { return k.encoded }

// record returns the record of a key that is pinned; an empty one where none is
// loaded. The caller holds mu.
func (v *View) record(k *Key) *wire.Record {
	if k.rec != nil {
		return k.rec
	}
	if n := len(v.spares); n > 0 {
		k.rec, v.spares = v.spares[n-1], v.spares[:n-1]
		if k.packed == "" {
			*k.rec = wire.Record{}
		}
	} else {
		k.rec = new(wire.Record)
	}
	if k.packed != "" {
		if err := unpack(k.encoded, k.packed, k.rec); err != nil {
			v.o.Broken(err) // the next owner has it from ledger and log
		}
		k.packed = ""
	}
	return k.rec
}

// pack makes a record small that nobody uses.
func (v *View) pack(k *Key) {
	if k.rec == nil {
		return
	}
	packed := ""
	if k.rec.Format != 0 { // else there is none
		var ok bool
		if packed, v.buffer, ok = pack(v.buffer, k.encoded, k.rec); !ok {
			return
		}
	}
	if len(v.spares) < sparesMost {
		v.spares = append(v.spares, k.rec)
	}
	k.rec, k.packed = nil, packed
	if k.dirty {
		v.size -= k.size
		k.size = k.bytes()
		v.size += k.size
	}
}

// bytes is roughly what a key takes in memory.
func (k *Key) bytes() int {
	if k.rec == nil {
		return stateBytes + len(k.encoded) + len(k.packed)
	}
	return stateBytes + len(k.encoded) + recordBytes + settlingBytes*len(k.rec.Recent)
}
