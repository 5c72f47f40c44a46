package lanes

import (
	"container/heap"
	"time"
)

// waits are the lanes that wait until they are due, as a heap.
type waits []*Lane

func (w waits) Len() int           { return len(w) }
func (w waits) Less(i, j int) bool { return w[i].due.Before(w[j].due) }
func (w waits) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].place, w[j].place = i+1, j+1
}

// Push is for the heap.
func (w *waits) Push(x any) {
	l := x.(*Lane) //nolint:forcetypeassert // the heap holds nothing else
	*w = append(*w, l)
	l.place = len(*w)
}

// Pop is for the heap.
func (w *waits) Pop() any {
	last := len(*w) - 1
	l := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	l.place = 0
	return l
}

func (w *waits) add(l *Lane) {
	if l.place == 0 {
		heap.Push(w, l)
	}
}

func (w *waits) remove(l *Lane) {
	if l.place > 0 {
		heap.Remove(w, l.place-1)
	}
}

// NextDue returns when to call Tick; false if nothing waits.
func (m *Lanes) NextDue() (at time.Time, ok bool) {
	if len(m.waiting) == 0 {
		return time.Time{}, false
	}
	return m.waiting[0].due, true
}

// Tick lets those lanes go on that are due.
func (m *Lanes) Tick() {
	now := m.o.Now()
	for len(m.waiting) > 0 && !m.waiting[0].due.After(now) {
		l := m.waiting[0]
		m.waiting.remove(l)
		m.proceed(l)
	}
}

const (
	// After an outage of refreshAfter a latest channel that holds more than
	// refreshAbove updates reads its stream again: they may be old by then.
	refreshAfter = 500 * time.Millisecond
	refreshAbove = 4
)

// Freed lets every lane that waits try now: the target is back after some
// time. Of what was held all the while, newer versions may lie in the stream; so
// that each key costs one write, it is let go and read again.
func (m *Lanes) Freed(lasted time.Duration) {
	if lasted >= refreshAfter && m.floor.Unsettled() > refreshAbove && m.o.Latest {
		m.refreshing = true
		m.todo.Wake.Refresh = true
		return
	}
	m.free()
}

// Refreshing reports whether what is held is to be given back and read again, and no call
// begins meanwhile.
func (m *Lanes) Refreshing() bool { return m.refreshing }

// GoOn lets every lane go on with what is held instead.
func (m *Lanes) GoOn() {
	m.refreshing = false
	m.free()
	m.todo.Wake.Dispatch = true
}

// Hurried lets every lane that waits try now, whatever the target has asked for.
func (m *Lanes) Hurried() {
	for _, l := range m.waiting {
		l.asked = time.Time{}
	}
	m.free()
}

// free lets every lane that waits try now, or when the target has asked for.
func (m *Lanes) free() {
	freed := m.waiting
	m.waiting = nil
	for _, l := range freed {
		l.place, l.due = 0, l.asked
		m.proceed(l)
	}
}
