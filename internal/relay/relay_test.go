package relay_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// of returns an update whose content is its version.
func of(target events.Route, key string, version int64) events.Update {
	return events.Update{
		Channel: target.Channel(), Topic: target.Topic(), Key: key, Version: testkit.Number(version),
		Payload: fmt.Appendf(nil, `{"v": %d}`, version),
	}
}

func every() events.Route    { return events.ToChannel("every") }
func latest() events.Route   { return events.ToChannel("latest") }
func policies() events.Route { return events.ToTopic("policies") }

// What a transaction commits is published as it was put, and what it rolls back is not.
func TestCommittedRowsArePublished(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		base := of(every(), "a", 3)
		base.Base = testkit.Number(2)
		base.ReplyTo = "_INBOX.platform"
		gone := events.Update{Channel: "every", Key: "a", Version: testkit.Number(4), Op: events.Delete}
		text := events.Update{Topic: "policies", Key: "a/b ü", Version: testkit.Version(t, "2024-05-01T10:00:00.000000001Z"), Payload: []byte("x\x00'\"\\"), ContentType: "application/octet-stream"}
		l.put(of(every(), "a", 1), of(every(), "a", 2), base, gone, text)
		l.in(func(tx outbox.Tx) bool {
			testkit.Must(t, outbox.Put(t.Context(), tx, of(every(), "a", 5)))
			return false
		})
		l.relay()
		l.drained()
		if got := l.versions(every()); got != "1 2 3 4" {
			t.Errorf("versions in the stream: %s", got)
		}
		third := l.stored(every())[2]
		if third.Header.Get(events.HeaderBase) != "2" || third.Header.Get(events.HeaderReplyTo) != "_INBOX.platform" || string(third.Data) != `{"v": 3}` {
			t.Errorf("version 3: %v %s", third.Header, third.Data)
		}
		if fourth := l.stored(every())[3]; fourth.Header.Get(events.HeaderOp) != "delete" || len(fourth.Data) != 0 {
			t.Errorf("version 4: %v", fourth.Header)
		}
		if got := l.stored(policies()); len(got) != 1 || string(got[0].Data) != "x\x00'\"\\" || got[0].Header.Get(events.HeaderVersion) != text.Version.String() {
			t.Errorf("of the topic: %v", got)
		}
		testkit.Eventually(t, "five rows to be counted", func() bool { return l.seen.counted(relay.Published) == 5 })
	})
}

// A row that nothing can be made of is set aside with its reason, and holds up nothing; nor
// does one that another version of the same key has overtaken.
func TestPoisonedRowsAreSetAside(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		insert := func(target, key, version, op, payload string) {
			l.exec("INSERT INTO extsync_outbox (target, "+l.key()+", version, op, payload) VALUES (?, ?, ?, ?, ?)", target, key, version, op, []byte(payload))
		}
		insert("every", "", "1", "upsert", "{}")
		insert("every", "a", "seven", "upsert", "{}")
		insert("every", "a", "7", "rename", "{}")
		insert("every", "a", "7", "upsert", "{")
		insert("every", "a", "7", "upsert", `"`+strings.Repeat("x", 5<<20)+`"`)
		insert("no such/target", "a", "7", "upsert", "{}")
		l.put(of(every(), "a", 8), of(every(), "b", 1))
		l.relay()
		l.drained()
		if got := l.versions(every()); got != "8 1" && got != "1 8" {
			t.Errorf("versions in the stream: %s", got)
		}
		insert("every", "a", "8", "upsert", `{"other": true}`)
		l.put(of(every(), "a", 7), of(every(), "a", 8), of(every(), "a", 9))
		l.drained()
		if got := l.versions(every()); !strings.HasSuffix(got, " 9") || len(strings.Fields(got)) != 3 {
			t.Errorf("versions in the stream: %s", got)
		}
		testkit.Eventually(t, "all to be counted", func() bool {
			return l.seen.counted(relay.SetAside) == 7 && l.seen.counted(relay.Stale) == 1 && l.seen.counted(relay.Duplicate) == 1
		})
		for _, note := range []string{"key: ", "version: ", "op: ", "payload: ", "5242882 bytes", "channel: ", "conflict"} {
			if l.rows("note LIKE '%"+note+"%'") == 0 {
				t.Errorf("no note about %s", note)
			}
		}
		testkit.Eventually(t, "the standing to show them", func() bool { return l.seen.standing("every").Aside == 6 })
		l.exec("UPDATE extsync_outbox SET noted_at = NULL, version = ? WHERE version = ?", "10", "seven")
		l.drained()
		if got := l.versions(every()); !strings.HasSuffix(got, " 10") {
			t.Errorf("versions in the stream: %s", got)
		}
	})
}

func (l *lab) key() string {
	if l.dialect == outbox.MySQL {
		return "`key`"
	}
	return "key"
}

// The rows of a target that takes nothing wait with a reason, and those of others do not.
func TestTargetThatTakesNothingHoldsUpItself(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		l.put(of(events.ToChannel("a-typo"), "a", 1), of(every(), "a", 1))
		r, _ := l.relay()
		testkit.Eventually(t, "the other target's row to be published", func() bool { return l.rows("target = 'every'") == 0 })
		testkit.Eventually(t, "a reason", func() bool { return errors.Is(l.seen.why("a-typo"), events.ErrUnknownChannel) })
		testkit.Eventually(t, "not to be ready", func() bool {
			return len(r.Problems()) == 1 && strings.Contains(r.Problems()[0], "target a-typo: row ") && strings.Contains(r.Problems()[0], "unknown channel")
		})
		l.exec("UPDATE extsync_outbox SET target = ?", "latest")
		l.drained()
		testkit.Eventually(t, "to be ready", func() bool { return len(r.Problems()) == 0 })
		if got := l.versions(latest()); got != "1" {
			t.Errorf("versions in the stream: %s", got)
		}
	})
}

// Next counts commits, whoever asks; Put with a number of the platform's own counts, too.
func TestNextVersions(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		next := func(commit bool) (v versioning.Version) {
			l.in(func(tx outbox.Tx) bool {
				var err error
				v, err = outbox.Next(t.Context(), tx, "a")
				testkit.Must(t, err)
				return commit
			})
			return v
		}
		for _, step := range []struct {
			commit bool
			want   string
		}{{true, "1"}, {false, "2"}, {true, "2"}, {true, "3"}} {
			if got := next(step.commit); got.String() != step.want {
				t.Errorf("version %s, want %s", got, step.want)
			}
		}
		l.put(of(every(), "a", 41))
		l.put(of(every(), "a", 7))
		if got := next(true); got.String() != "42" {
			t.Errorf("version %s, want 42", got)
		}
	})
}

// Two relays at once, and writers who commit in the middle: the versions of each key come in
// order, and none is lost.
func TestTwoRelaysKeepTheOrder(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		const keys, versions = 20, 40
		l.relay()
		if l.dialect != outbox.SQLite {
			l.relay()
		}
		for v := int64(1); v <= versions; v++ {
			var batch []events.Update
			for k := range keys {
				batch = append(batch, of(every(), fmt.Sprintf("k%d", k), v))
			}
			l.put(batch...)
		}
		l.drained()
		last := map[string]int64{}
		stored := l.stored(every())
		for _, msg := range stored {
			v, _ := testkit.Version(t, msg.Header.Get(events.HeaderVersion)).Int64()
			if v != last[msg.Subject]+1 {
				t.Fatalf("%s: version %d after %d", msg.Subject, v, last[msg.Subject])
			}
			last[msg.Subject] = v
		}
		if len(stored) != keys*versions {
			t.Errorf("%d updates, want %d", len(stored), keys*versions)
		}
	})
}

// While the broker is away rows wait, and a database that goes away is waited for.
func TestBrokerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		l.relay()
		l.put(of(every(), "a", 1))
		l.drained()
		l.Stop(t)
		l.put(of(every(), "a", 2))
		testkit.Eventually(t, "a reason", func() bool { return l.seen.why("every") != nil })
		l.Start(t)
		l.drained()
		testkit.Eventually(t, "no reason", func() bool { return l.seen.why("every") == nil })
		if got := l.versions(every()); got != "1 2" {
			t.Errorf("versions in the stream: %s", got)
		}
	})
}

// A busy publisher finds the head of one key moved under it, once.
type busy struct {
	relay.Publisher
	key  string
	once sync.Once
}

func (p *busy) PublishAll(ctx context.Context, updates iter.Seq[events.Update], _ int) iter.Seq2[events.Receipt, error] {
	return func(yield func(events.Receipt, error) bool) {
		for u := range updates {
			answers := p.Publisher.PublishAll(ctx, slices.Values([]events.Update{u}), 1)
			if u.Key == p.key {
				p.once.Do(func() {
					answers = func(yield func(events.Receipt, error) bool) { yield(events.Receipt{}, events.ErrBusy) }
				})
			}
			for receipt, err := range answers {
				if !yield(receipt, err) {
					return
				}
			}
		}
	}
}

// A key that is busy waits with all of its rows: a newer one in the same claim would make the
// one that waits stale.
func TestBusyKeyIsNotOvertakenByItsNextRow(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		l.put(of(every(), "a", 1), of(every(), "b", 1), of(every(), "a", 2), of(every(), "a", 3))
		l.relay(func(o *relay.Options) { o.Publisher = &busy{Publisher: o.Publisher, key: "a"} })
		l.drained()
		if got := l.versions(every()); got != "1 1 2 3" || l.seen.counted(relay.Stale) != 0 {
			t.Errorf("versions in the stream: %s, %d stale", got, l.seen.counted(relay.Stale))
		}
	})
}

// Rows that stood in nobody's way and were in nobody's list: one without a target, and, of
// SQLite, one whose target is bytes, at which the relay looked for ever.
func TestRowWithoutATargetIsSetAside(t *testing.T) {
	t.Parallel()
	inEachDialect(t, func(t *testing.T, l *lab) {
		l.exec("INSERT INTO extsync_outbox (target, " + l.key() + ", version, payload) VALUES ('', 'k', '1', '{}')")
		if l.dialect == outbox.SQLite {
			_, err := l.db.ExecContext(t.Context(), "INSERT INTO extsync_outbox (target, key, version, payload) VALUES (x'6572', 'k', '1', '{}')")
			if err == nil {
				t.Error("a target of bytes is taken")
			}
		}
		l.put(of(every(), "a", 1))
		l.relay()
		l.drained()
		if got := l.rows("note LIKE '%channel%'"); got != 1 {
			t.Errorf("%d rows have a note about their channel", got)
		}
	})
}

// One row of a target that does not exist had a relay count as not ready although all others
// got through as soon as they came.
func TestRelayWhoseOtherTargetsMoveIsReady(t *testing.T) {
	t.Parallel()
	l := newLab(t, outbox.SQLite)
	l.put(of(events.ToChannel("a-typo"), "a", 1))
	r, _ := l.relay()
	testkit.Eventually(t, "not to be ready", func() bool { return len(r.Problems()) == 1 && strings.Contains(r.Problems()[0], "a-typo") })
	version := int64(0)
	testkit.Eventually(t, "to be ready, with a note", func() bool {
		version++
		l.put(of(every(), "a", version))
		return len(r.Problems()) == 0 && len(r.Notes()) == 1
	})
}

// The DSN of a server was shown, with its password, where the dialect was that of files.
func TestWrongDialectShowsNoPassword(t *testing.T) {
	for _, d := range outbox.Dialects() {
		for _, dsn := range []string{"postgres://relay:sekret@127.0.0.1:1/x?sslmode=maybe", "relay:sekret@tcp(127.0.0.1:1)/x?y=%zz", "/no/such:sekret@file"} {
			db, err := relay.Open(d, dsn, 1)
			if err == nil {
				err = db.Check(t.Context())
				testkit.Must(t, db.Close())
			}
			if err == nil || strings.Contains(err.Error(), "sekret") {
				t.Errorf("%s: %v", d, err)
			}
		}
	}
}
