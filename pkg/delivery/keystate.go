package delivery

import (
	"container/list"

	"github.com/hms-utl/extsync/pkg/events"
)

const (
	stateBytes    = 200 // of a key in memory without its record, roughly
	recordBytes   = 440 // of a record that is in use, without its settlements
	settlingBytes = 224 // of each of them
	// sparesMost is how many records that were in use lie ready for the next ones.
	sparesMost = 256
)

// A keyState is what a view knows of one key.
type keyState struct {
	key      string
	rec      *events.Record // in use; nil: see packed
	packed   string         // the record when nobody uses it; "": empty, or in use
	revision uint64         // in the bucket; 0: not there
	loaded   bool
	// unwritten says that the view's written does not have the key yet.
	unwritten bool
	base      events.LogPosition // of the record that was loaded
	dirty     bool
	size      int // with which it counts, while it is dirty
	pins      int // lanes that use it
	// idle is its place among those that nobody uses, nil if somebody does.
	idle *list.Element
}

// record returns the record of a key that is held, until it is let go of; an empty
// one where none is loaded. The caller holds mu.
func (v *view) record(s *keyState) *events.Record {
	if s.rec != nil {
		return s.rec
	}
	if n := len(v.spares); n > 0 {
		s.rec, v.spares = v.spares[n-1], v.spares[:n-1]
		if s.packed == "" {
			*s.rec = events.Record{}
		}
	} else {
		s.rec = new(events.Record)
	}
	if s.packed != "" {
		if err := unpack(s.key, s.packed, s.rec); err != nil {
			v.t.fail(err) // the next tenure has it from ledger and log
		}
		s.packed = ""
	}
	return s.rec
}

// pack makes a record small that nobody uses.
func (v *view) pack(s *keyState) {
	if s.rec == nil {
		return
	}
	packed := ""
	if s.rec.Format != 0 { // else there is none
		var ok bool
		if packed, v.buffer, ok = pack(v.buffer, s.key, s.rec); !ok {
			return
		}
	}
	if len(v.spares) < sparesMost {
		v.spares = append(v.spares, s.rec)
	}
	s.rec, s.packed = nil, packed
	if s.dirty {
		v.size -= s.size
		s.size = s.bytes()
		v.size += s.size
	}
}

// bytes is roughly what a key takes in memory.
func (s *keyState) bytes() int {
	if s.rec == nil {
		return stateBytes + len(s.key) + len(s.packed)
	}
	return stateBytes + len(s.key) + recordBytes + settlingBytes*len(s.rec.Recent)
}
