package flow

// A Floor tracks up to where a partition's updates are settled. Updates come in
// the order of the stream; they are settled in any order. The zero value starts
// at 0.
type Floor struct {
	last  uint64 // highest sequence that came
	base  uint64 // all up to here are settled
	time  int64  // when the newest of those was stored, in nanoseconds since the Unix epoch
	open  []seen // those after base, in order
	first int    // index in open of the first that is not settled
}

type seen struct {
	seq  uint64
	time int64
	done bool
}

// StartAt forgets everything and starts behind seq, which was stored at a time.
func (f *Floor) StartAt(seq uint64, time int64) { *f = Floor{last: seq, base: seq, time: time} }

// Add notes that an update came, and when it was stored. It returns false for one
// that is not newer than all before it.
func (f *Floor) Add(seq uint64, time int64) bool {
	if seq <= f.last {
		return false
	}
	f.last = seq
	f.open = append(f.open, seen{seq: seq, time: time})
	return true
}

// Done notes that an update is settled.
func (f *Floor) Done(seq uint64) {
	low, high := f.first, len(f.open)
	for low < high {
		if mid := int(uint(low+high) >> 1); f.open[mid].seq < seq {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(f.open) || f.open[low].seq != seq {
		return
	}
	f.open[low].done = true
	for f.first < len(f.open) && f.open[f.first].done {
		f.base, f.time = f.open[f.first].seq, max(f.time, f.open[f.first].time)
		f.first++
	}
	if f.first > 1024 && f.first > len(f.open)/2 { // give the memory back
		f.open = append([]seen(nil), f.open[f.first:]...)
		f.first = 0
	}
}

// Unsettled returns how many updates have come and are not settled, at most.
func (f *Floor) Unsettled() int { return len(f.open) - f.first }

// Value returns the sequence up to which everything is settled.
func (f *Floor) Value() uint64 { return f.base }

// StoredAt returns when the newest update up to Value was stored, in nanoseconds
// since the Unix epoch; 0 if that is not known.
func (f *Floor) StoredAt() int64 { return f.time }

// Last returns the highest sequence that came; where the floor starts if none has.
func (f *Floor) Last() uint64 { return f.last }
