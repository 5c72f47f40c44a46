package relay

import (
	"fmt"
	"hash/maphash"
	"maps"
	"sync"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// Bounds of what is remembered of rows, in rows.
const (
	mostSeen = 200_000 // about 15 MB
	mostBad  = 10_000
	// sayBad is how many bad rows are logged, each once; all are counted.
	sayBad = 1000
)

// A done is what is known of a row that was done with.
type done struct {
	content uint64
	version versioning.Version
}

// A memory remembers which rows were done with, so that those within the overlap cost the
// broker nothing. Rows and contents are known by eight bytes: one in 10^14 new contents of a
// remembered row is taken for the one before, until the row changes again, the relay starts
// again, or a comparison finds it.
type memory struct {
	seed maphash.Seed
	rows map[uint64]done
}

func newMemory() *memory { return &memory{seed: maphash.MakeSeed(), rows: map[uint64]done{}} }

// of returns what a row and its content are known by.
func (m *memory) of(row *StateRow) (id, content uint64) {
	var h maphash.Hash
	h.SetSeed(m.seed)
	add := func(text string) {
		_, _ = h.WriteString(text) // it never fails
		_ = h.WriteByte(0)
	}
	u := &row.Update
	add(row.Target)
	add(u.Key)
	id = h.Sum64()
	h.Reset()
	for _, text := range []string{u.Version.String(), string(u.Op), u.ContentType, u.Base.String()} {
		add(text)
	}
	_, _ = h.Write(u.Payload) // it never fails
	return id, h.Sum64()
}

func (m *memory) has(id, content uint64) bool {
	d, there := m.rows[id]
	return there && d.content == content
}

// add remembers a row. If there are too many, those before after go first, which no pass
// reads again, and then any.
func (m *memory) add(id uint64, d done, after versioning.Version) {
	if len(m.rows) >= mostSeen {
		m.forget(after)
		for other := range m.rows {
			if len(m.rows) < mostSeen*3/4 {
				break
			}
			delete(m.rows, other)
		}
	}
	m.rows[id] = d
}

// forget forgets the rows that no pass reads again.
func (m *memory) forget(after versioning.Version) {
	maps.DeleteFunc(m.rows, func(_ uint64, d done) bool { return !older(after, d.version) })
}

// A badRows knows the rows that are no updates, and cannot be set aside in a table that is
// the platform's. It is safe for concurrent use.
type badRows struct {
	mu   sync.Mutex
	rows map[uint64]badRow
	said int
	pass int    // over all rows
	more int    // that there was no room for, since that began
	one  uint64 // of those in rows
}

type badRow struct {
	content uint64
	target  string
	text    string
	pass    int
}

func newBadRows() *badRows { return &badRows{rows: map[uint64]badRow{}} }

// add notes a bad row. isNew says that it was not known, and say that it is to be logged.
func (b *badRows) add(id, content uint64, target, text string) (isNew, say bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, known := b.rows[id]
	if !known && len(b.rows) >= mostBad {
		b.more++
		return true, false
	}
	b.rows[id] = badRow{content, target, text, b.pass}
	if known && before.content == content {
		return false, false
	}
	b.one = id
	b.said++
	return true, b.said <= sayBad
}

// meet notes that a row is as it was.
func (b *badRows) meet(id uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if row, bad := b.rows[id]; bad {
		row.pass = b.pass
		b.rows[id] = row
	}
}

// forget notes that a row is good.
func (b *badRows) forget(id uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.rows, id)
}

// begin and end surround a pass over all rows: bad ones that it has not met are gone.
func (b *badRows) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pass++
	b.more = 0
}

func (b *badRows) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.rows, func(_ uint64, row badRow) bool { return row.pass != b.pass })
}

// standings returns how many bad rows there are, by target.
func (b *badRows) standings() map[string]Standing {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]Standing{}
	for _, row := range b.rows {
		s := out[row.target]
		s.Aside++
		out[row.target] = s
	}
	return out
}

// note says that there are bad rows; "" if there are none.
func (b *badRows) note() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rows) == 0 {
		return ""
	}
	if _, there := b.rows[b.one]; !there {
		for b.one = range b.rows {
			break
		}
	}
	return fmt.Sprintf("rows of the query that are no updates, and left out: %d, such as %s", len(b.rows)+b.more, b.rows[b.one].text)
}
