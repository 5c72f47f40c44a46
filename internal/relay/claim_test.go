package relay_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// A time that is none, in a column that is the database's to fill, had a row stop its target.
func TestRowWithAStrangeTimeIsPublished(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		strange := map[outbox.Dialect][]string{
			outbox.Postgres: {"'infinity'", "'-infinity'", "'0044-01-01 BC'"},
			outbox.MySQL:    {"'1970-01-01 00:00:01'"},
			outbox.SQLite:   {"'1714557600'", "''", "'soon'"},
		}[l.dialect]
		for i, at := range strange {
			l.exec("INSERT INTO extsync_outbox (target, "+l.key()+", version, payload, created_at) VALUES ('every', ?, '1', ?, "+at+")", fmt.Sprint("k", i), []byte("{}"))
		}
		l.put(of(every(), "after", 1))
		db, err := relay.Open(l.dialect, l.dsn, 1)
		testkit.Must(t, err)
		defer func() { testkit.Must(t, db.Close()) }()
		if report, err := db.Report(t.Context()); err != nil || report.Targets[0].Waiting != int64(len(strange)+1) {
			t.Errorf("the report is %+v, %v", report, err)
		}
		l.relay()
		l.drained()
		if got := len(l.stored(every())); got != len(strange)+1 {
			t.Errorf("%d updates are published, want %d", got, len(strange)+1)
		}
	})
}

// More of large payloads than may lie in memory is read in portions, and all is published.
func TestLargePayloadsAreReadInPortions(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		content := append(append([]byte{'"'}, bytes.Repeat([]byte("x"), 600<<10)...), '"')
		for i := range 30 { // 18 MB
			u := of(latest(), fmt.Sprint("k", i%20), int64(1+i/20))
			u.Payload = content
			l.put(u)
		}
		l.relay()
		l.drained()
		if got := len(l.stored(latest())); got != 20 {
			t.Errorf("%d keys are published, want 20", got)
		}
	})
}

// A target with a long backlog gives way to others after each claim, though it could go on.
func TestBacklogOfOneTargetLetsOthersThrough(t *testing.T) {
	t.Parallel()
	l := newLab(t, outbox.Postgres)
	const backlog = 20_000
	l.exec("INSERT INTO extsync_outbox (target, key, version, payload) SELECT 'every', 'k' || i, '1', convert_to('{}', 'UTF8') FROM generate_series(1, 20000) i")
	l.put(of(latest(), "a", 1))
	l.relay(func(o *relay.Options) { o.Claims = 1 })
	testkit.Eventually(t, "the other target's row to be published", func() bool { return l.rows("target = 'latest'") == 0 })
	if left := l.rows("target = 'every'"); left == 0 {
		t.Errorf("all %d rows of the backlog came first", backlog)
	}
	l.drained()
}

// The platform removed the rows that waited, and the reason went on being shown.
func TestReasonGoesWithTheRows(t *testing.T) {
	t.Parallel()
	l := newLab(t, outbox.SQLite)
	l.put(of(events.ToChannel("a-typo"), "a", 1))
	l.relay()
	testkit.Eventually(t, "a reason", func() bool { return errors.Is(l.seen.why("a-typo"), events.ErrUnknownChannel) })
	l.exec("DELETE FROM extsync_outbox")
	testkit.Eventually(t, "no reason", func() bool { return l.seen.why("a-typo") == nil })
}
