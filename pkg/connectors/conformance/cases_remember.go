package conformance

import (
	"slices"
	"sync"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// memory keeps what the engine keeps of each key: the values that answers gave, and
// whether a call may have been made whose answer nobody knows. The zero value is ready.
type memory struct {
	mu     sync.Mutex
	refs   map[string]connectors.Refs
	unsure map[string]bool
}

// fill returns the attempts with what is kept, if the connector is declared to use it.
func (m *memory) fill(c *connectors.Opened, attempts []connectors.Attempt) []connectors.Attempt {
	if !c.Can().Remembers {
		return attempts
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(attempts)
	for i := range out {
		a := &out[i]
		a.Refs, a.Unsure = m.refs[a.Key].With(a.Refs), a.Unsure || m.unsure[a.Key]
	}
	return out
}

// keep notes what came of an attempt.
func (m *memory) keep(a connectors.Attempt, res connectors.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refs == nil {
		m.refs, m.unsure = map[string]connectors.Refs{}, map[string]bool{}
	}
	switch {
	case res.Class == connectors.OK && a.Op == events.Delete:
		delete(m.refs, a.Key)
		delete(m.unsure, a.Key)
	case res.Class == connectors.OK:
		m.refs[a.Key] = m.refs[a.Key].With(res.Remember)
		delete(m.unsure, a.Key)
	case res.Class == connectors.Transient:
		m.unsure[a.Key] = true
	}
}

// forget is a new owner who knows less than was answered.
func (m *memory) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.refs, key)
	m.unsure[key] = true
}

// remembers: what an answer gave is used, and where it was lost the object is found.
func remembers(r *run) {
	c := r.open()
	if !c.Can().Remembers {
		r.NotApplicable("the connector is not declared to remember")
		return
	}
	one := func(what string, a connectors.Attempt) {
		r.Helper()
		r.wantOK(what, r.settle(c, a))
		r.wantHeld(a)
		want := 1
		if a.Op == events.Delete && !r.Tombstones {
			want = 0
		}
		if r.Objects != nil && r.Objects(r.T, a.Key) != want {
			r.Errorf("%s: the target has %d objects of the key, want %d", what, r.Objects(r.T, a.Key), want)
		}
	}
	key := r.prefix + "k"
	one("first", r.upsert(key, number(1), "first"))
	if len(r.memory.refs[key]) == 0 {
		r.Error("nothing is remembered of what was created")
	}
	one("by what is remembered", r.upsert(key, number(2), "second"))
	r.memory.forget(key)
	one("by what is found", r.upsert(key, number(3), "third"))
	if len(r.memory.refs[key]) == 0 {
		r.Error("nothing is remembered of what was found")
	}
	r.memory.forget(key)
	one("delete of what is found", r.remove(key, number(4)))
	one("delete of what is not there", r.remove(key, number(5)))
	one("created again", r.upsert(key, number(6), "again"))
	one("delete by what is remembered", r.remove(key, number(7)))
	if r.LoseAnswer == nil {
		r.NotApplicable("its answer cannot be lost (LoseAnswer)")
		return
	}
	restore := r.LoseAnswer(r.T)
	r.wantTransient("created, with its answer lost", r.apply(c, r.upsert(key, number(8), "lost")))
	restore()
	one("another version after a lost answer", r.upsert(key, number(9), "after"))
}
