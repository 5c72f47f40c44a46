package relay_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// What a query finds is published, and what changes; what was published costs the broker
// nothing when it is read again; and a new relay finds that all is there.
func TestQueryIsFollowed(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		l.set("a", 1, body(1))
		l.set("b", 2, body(2))
		_, stop := l.follow(l.source(every()))
		l.published(every(), "1 2")
		l.set("a", 3, body(3))
		l.published(every(), "1 2 3")
		l.passes()
		stop()
		if got := l.seen.counted(relay.Published) + l.seen.counted(relay.Duplicate); got != 3 {
			t.Errorf("%d rows were published again", got-3)
		}
		l.set("c", 4, body(4))
		l.follow(l.source(every()))
		l.published(every(), "1 2 3 4")
		if got := string(l.stored(every())[3].Data); got != body(4) {
			t.Errorf("payload %s", got)
		}
		testkit.Eventually(t, "the two that were there to count as duplicates", func() bool { return l.seen.counted(relay.Duplicate) == 2 })
	})
}

// Times are versions as the database has them: without a zone they are in UTC, whatever the
// zone of the session would be.
func TestTimesAreVersions(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		switch l.dialect {
		case outbox.Postgres:
			l.exec("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone TO %L', current_database(), 'Asia/Tokyo'); END $$")
		case outbox.MySQL:
			l.exec("ALTER TABLE policies MODIFY changed_at timestamp(6) NULL") // which is shown in the zone of the session
			l.dsn += "?time_zone=%27%2B09%3A00%27"
		}
		l.set("a", 1, body(1))
		l.follow(l.source(policies(), func(s *relay.Source) { s.Query = l.timed(l.rowsOf("changed_at", "")) }))
		l.published(policies(), "2024-05-01T10:00:01Z")
		l.set("b", 20, body(2)) // the first is behind the overlap now
		l.published(policies(), "2024-05-01T10:00:01Z 2024-05-01T10:00:20Z")
		l.passes()
		l.set("c", 11, body(3)) // and this one is within
		l.published(policies(), "2024-05-01T10:00:01Z 2024-05-01T10:00:20Z 2024-05-01T10:00:11Z")
		l.passes()
		if got := l.seen.counted(relay.Duplicate); got != 0 {
			t.Errorf("%d rows were published twice", got)
		}
	})
}

// A row whose transaction commits after that of a newer version is not lost.
func TestRowThatIsCommittedLate(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		l.set("a", 1, body(1))
		l.follow(l.source(every()))
		l.published(every(), "1")
		insert := "INSERT INTO policies (id, change_no, body) VALUES ('late', 5, '" + body(5) + "')"
		commit := func() { l.exec(insert) }
		if l.dialect != outbox.SQLite { // which has one writer at a time
			tx, err := l.db.BeginTx(t.Context(), nil)
			testkit.Must(t, err)
			_, err = tx.ExecContext(t.Context(), insert)
			testkit.Must(t, err)
			commit = func() { testkit.Must(t, tx.Commit()) }
		}
		l.exec("INSERT INTO policies (id, change_no, body) VALUES (?, ?, ?)", "b", 9, []byte(body(9)))
		l.published(every(), "1 9")
		l.passes() // it begins behind 9 now
		commit()
		l.published(every(), "1 9 5")
	})
}

// A row that is no update is logged once, shown, and holds up nothing.
func TestBadRowsAreLeftOut(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		insert := func(key any, version any, op any, payload any) {
			l.exec("INSERT INTO policies (id, change_no, op, body) VALUES (?, ?, ?, ?)", key, version, op, payload)
		}
		insert(nil, 1, nil, []byte("{}"))
		insert("zero", 0, nil, []byte("{}"))
		insert("op", 2, "rename", []byte("{}"))
		insert("broken", 3, nil, []byte("{"))
		insert("large", 4, nil, []byte(`"`+strings.Repeat("x", 5<<20)+`"`))
		insert("empty", 5, nil, nil)
		insert("gone", 6, "delete", []byte("what was there"))
		insert("a", 7, nil, []byte(body(7)))
		l.put(of(every(), "conflict", 8))
		_, stop := l.relay()
		l.drained()
		stop() // it tells of the outbox
		insert("conflict", 8, nil, []byte(`{"other": true}`))
		// Versions below 1 are read, too.
		query := "SELECT id AS " + l.key() + ", change_no AS version, body AS payload, op FROM policies WHERE change_no > :since - 1"
		f, _ := l.follow(l.source(every(), func(s *relay.Source) { s.Query = l.parse(query) }))
		l.published(every(), "8 6 7")
		l.passes()
		testkit.Eventually(t, "a note", func() bool { return len(f.Notes()) == 1 && len(f.Problems()) == 0 })
		bad := 7
		if note := f.Notes()[0]; !strings.Contains(note, "left out: 7, such as ") {
			t.Errorf("note: %s", note)
		}
		if got := l.seen.counted(relay.SetAside); got != bad {
			t.Errorf("%d rows were counted, want %d", got, bad)
		}
		if got := l.logged("is no update, and is left out"); got != bad {
			t.Errorf("the log has %d of them, want %d", got, bad)
		}
		if got := l.seen.standing("every").Aside; got != int64(bad) {
			t.Errorf("%d rows are shown, want %d", got, bad)
		}
		for _, why := range []string{"key: ", "is outside 1..", "op: ", "not valid JSON", "5242882 bytes", "it is empty", "conflict"} {
			if l.logged(why) == 0 {
				t.Errorf("the log does not say %q", why)
			}
		}
		l.exec("UPDATE policies SET change_no = 9 WHERE id = 'conflict'")
		l.published(every(), "8 6 7 9")
		testkit.Eventually(t, "one less", func() bool { return l.seen.standing("every").Aside == int64(bad-1) })
	})
}

// The rows of a target that takes nothing wait with a reason, wherever the others have got
// to, and those of others do not.
func TestQuerysTargetThatTakesNothing(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		l.exec("INSERT INTO policies (id, change_no, body, target) VALUES ('a', 1, '{}', 'a-typo'), ('b', 2, '{}', NULL)")
		publisher, err := l.client().PromptPublisher(t.Context()) // which gives up at the first row
		testkit.Must(t, err)
		l.exec("INSERT INTO policies (id, change_no, body, target) VALUES ('d', 3, '{}', 'a-typo')")
		source := l.source(every(), func(s *relay.Source) { s.Query = l.parse(l.rowsOf("change_no", ", target")) })
		f, _ := l.follow(source, func(o *relay.FollowOptions) { o.Publisher = publisher })
		l.published(every(), "2")
		l.exec("INSERT INTO policies (id, change_no, body) VALUES ('c', 1000, '{}')")
		l.published(every(), "2 1000")
		testkit.Eventually(t, "a reason", func() bool { return errors.Is(l.seen.why("a-typo"), events.ErrUnknownChannel) })
		testkit.Eventually(t, "a note", func() bool {
			return len(f.Problems()) == 0 && len(f.Notes()) == 1 && strings.Contains(f.Notes()[0], "target a-typo: rows of the query wait")
		})
		l.exec("UPDATE policies SET target = 'latest' WHERE target = 'a-typo'") // far behind the overlap
		l.published(latest(), "1 3")
		testkit.Eventually(t, "no note", func() bool { return len(f.Notes()) == 0 })
		l.published(every(), "2 1000")
	})
}

// A broker that is killed or away is waited for, and so is a table.
func TestQueryIsFollowedThroughFaults(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		l.set("a", 1, body(1))
		f, _ := l.follow(l.source(every()))
		l.published(every(), "1")
		l.Kill(t)
		l.set("b", 2, body(2))
		l.published(every(), "1 2")
		l.Stop(t)
		l.set("a", 3, body(3))
		testkit.Eventually(t, "not to be ready", func() bool { return len(f.Problems()) == 1 && strings.Contains(f.Problems()[0], "target every: ") })
		l.Start(t)
		l.published(every(), "1 2 3")
		testkit.Eventually(t, "to be ready", func() bool { return len(f.Problems()) == 0 })
		l.exec("ALTER TABLE policies RENAME TO elsewhere")
		testkit.Eventually(t, "not to be ready", func() bool {
			return len(f.Problems()) == 1 && strings.Contains(f.Problems()[0], "the query cannot be read")
		})
		l.exec("ALTER TABLE elsewhere RENAME TO policies")
		l.set("b", 4, body(4))
		l.published(every(), "1 2 3 4")
	})
}

// A query that cannot be used is refused in words, before anything is done.
func TestQueryWithWrongColumns(t *testing.T) {
	t.Parallel()
	inEachState(t, func(t *testing.T, l *stateLab) {
		for query, want := range map[string]string{
			"SELECT id, change_no AS version, body AS payload FROM policies WHERE change_no > :since":                                   `there is no use for column "id", column key is missing; a query gives the columns key, version, payload, and may give op, target, content_type, base`,
			"SELECT id AS " + l.key() + ", change_no AS version FROM policies WHERE change_no > :since":                                 "column payload is missing",
			"SELECT id AS " + l.key() + ", changed_at AS version, body AS payload FROM policies WHERE changed_at IS NULL OR 1 > :since": "column version is a time (--relay-versions time)",
		} {
			err := l.source(every(), func(s *relay.Source) { s.Query = l.parse(query) }).Check(t.Context())
			if !errors.Is(err, relay.ErrQuery) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", query, err, want)
			}
		}
		err := l.source(every(), func(s *relay.Source) { s.Target = "" }).Check(t.Context())
		if !errors.Is(err, relay.ErrQuery) || !strings.Contains(err.Error(), "--relay-target") {
			t.Errorf("without a target: %v", err)
		}
		err = l.source(every(), func(s *relay.Source) { s.Query = l.parse("SELECT * FROM nowhere WHERE v > :since") }).Check(t.Context())
		if err == nil || errors.Is(err, relay.ErrQuery) { // it may come
			t.Errorf("a table that is not there: %v", err)
		}
		texts := "SELECT id AS " + l.key() + ", id AS version, body AS payload FROM policies WHERE id > :since"
		if err := l.source(every(), func(s *relay.Source) { s.Query = l.parse(texts) }).Check(t.Context()); l.dialect == outbox.Postgres && err == nil {
			t.Error("a text is compared with numbers, and 9 is more than 10")
		}
	})
}

// A pooler that gives each transaction another connection is no obstacle, and payloads of
// types of the database's own are read.
func TestQueryThroughPgBouncer(t *testing.T) {
	t.Parallel()
	l := withTable(newLab(t, outbox.Postgres))
	_, l.dsn = testdb.PgBouncer(t, l.dsn)
	l.exec("CREATE TABLE accounts (id uuid, changed_at timestamptz, title text)")
	l.exec("INSERT INTO accounts VALUES ('6ba7b810-9dad-11d1-80b4-00c04fd430c8', '2024-05-01 12:00:00+02', 'ä')")
	l.follow(l.source(policies(), func(s *relay.Source) {
		s.Query = l.timed(`SELECT id AS "key", changed_at AS version, to_jsonb(a) - 'id'::text - 'changed_at' AS payload FROM accounts a WHERE changed_at > :since`)
	}))
	l.published(policies(), "2024-05-01T10:00:00Z")
	if msg := l.stored(policies())[0]; string(msg.Data) != `{"title": "ä"}` || !strings.HasSuffix(msg.Subject, ".6ba7b810-9dad-11d1-80b4-00c04fd430c8") {
		t.Errorf("%s: %s", msg.Subject, msg.Data)
	}
	l.exec("UPDATE accounts SET title = 'b', changed_at = '2024-05-01 12:00:01+02'")
	l.published(policies(), "2024-05-01T10:00:01Z")
}
