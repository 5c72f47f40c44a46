package relay

import (
	"fmt"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Each pass of a table begins where nothing can be before that was not seen: at the beginning
// when the newest row is gone, and at what was left of a target whose turn it is.
func TestCursor(t *testing.T) {
	t.Parallel()
	c := newCursor(Overlap{Versions: 10})
	waiting := map[string]bool{}
	pass := func(want string, newest int64, left ...string) {
		t.Helper()
		from, held := c.begin(func(target string) bool { return !waiting[target] })
		if got := c.after(from).String(); got != want {
			t.Errorf("it reads what is after %q, want %q", got, want)
		}
		of := map[string]bool{}
		for _, target := range left {
			of[target] = true
		}
		var v versioning.Version
		if newest > 0 {
			v = testkit.Number(newest)
		}
		c.end(from, v, held, of)
	}
	pass("", 0) // an empty table
	pass("", 5)
	pass("", 50) // 5 is within the overlap
	pass("40", 60)
	pass("50", 70, "slow") // and something of it was left that had begun at 60
	pass("50", 70, "slow")
	waiting["slow"] = true
	pass("60", 200)
	pass("190", 200)
	delete(waiting, "slow")
	pass("50", 200)
	pass("190", 200)
	pass("190", 150) // 200 is gone
	pass("190", 150) // all was read a moment ago
	c.all = c.all.Add(-readAllEvery)
	pass("", 150)
	pass("140", 150)
	if len(c.pins) != 0 {
		t.Errorf("pins: %v", c.pins)
	}

	future := Overlap{Time: time.Hour}.Before(versioning.Must(versioning.Time(time.Now().AddDate(100, 0, 0))))
	if at, ok := future.AsTime(); !ok || time.Until(at) > 0 {
		t.Errorf("a row of the future hides all others until %s", at)
	}
}

// What is remembered of rows is bounded, and what no pass reads again goes first.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := newMemory()
	for i := range uint64(mostSeen) {
		m.add(i, done{i, testkit.Number(int64(i) + 1)}, versioning.Version{})
	}
	const within = mostSeen / 2
	m.add(mostSeen, done{1, testkit.Number(mostSeen + 1)}, testkit.Number(within))
	if m.has(0, 0) || !m.has(within, within) || m.has(within, 7) || len(m.rows) != mostSeen-within+1 {
		t.Errorf("%d rows", len(m.rows))
	}
	for i := range uint64(mostSeen) {
		m.add(mostSeen+i, done{1, testkit.Number(mostSeen * 2)}, versioning.Version{})
	}
	if len(m.rows) > mostSeen {
		t.Errorf("%d rows are more than %d", len(m.rows), mostSeen)
	}

	b := newBadRows()
	b.begin()
	for i := range uint64(mostBad + 7) {
		b.add(i, 0, "every", fmt.Sprint("row ", i))
	}
	if note := b.note(); len(b.rows) != mostBad || note != fmt.Sprintf("rows of the query that are no updates, and left out: %d, such as row %d", mostBad+7, mostBad-1) {
		t.Errorf("%d rows; %s", len(b.rows), note)
	}
	b.begin()
	b.meet(3)
	b.end()
	if note := b.note(); note != "rows of the query that are no updates, and left out: 1, such as row 3" {
		t.Error(note)
	}
}
